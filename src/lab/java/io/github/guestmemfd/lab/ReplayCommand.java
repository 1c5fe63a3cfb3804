package io.github.guestmemfd.lab;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.trace.Replay;
import io.github.guestmemfd.trace.Trace;
import io.github.guestmemfd.trace.TraceFormatException;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;
import picocli.CommandLine.TypeConversionException;

/** Replays trace files. */
@Command(
    name = "replay",
    description = "Runs recorded traces against the model and shows every result that differs.",
    footer =
        "%nExit status: 0 nothing differs, 1 something does, 2 a file cannot be read or parsed.",
    mixinStandardHelpOptions = true)
final class ReplayCommand implements Callable<Integer> {

  @Parameters(
      paramLabel = "FILE",
      arity = "0..*",
      description =
          "Trace files; without one, the recordings of a real kernel that come with this.")
  private List<Path> files = List.of();

  @Option(
      names = "--protocol",
      paramLabel = "ID",
      converter = ProtocolConverter.class,
      completionCandidates = Names.Protocols.class,
      description =
          "How conversions tell who holds a folio: ${COMPLETION-CANDIDATES}"
              + " (default: ${DEFAULT-VALUE}).")
  private ConversionProtocol protocol = ConversionProtocol.atomicPair();

  @Option(
      names = "--kernel",
      paramLabel = "RELEASE",
      converter = KernelConverter.class,
      description =
          "The kernel whose answers the model gives: ${COMPLETION-CANDIDATES}; another release as"
              + " the last released one of these that is not above it (default: the kernel that the"
              + " trace was made by).",
      completionCandidates = Names.Kernels.class)
  private @Nullable KernelProfile kernel;

  @Spec private CommandSpec spec;

  /** Finds a kernel by its release. */
  static final class KernelConverter implements ITypeConverter<KernelProfile> {
    @Override
    public KernelProfile convert(String release) {
      return KernelProfile.of(release)
          .orElseThrow(
              () ->
                  new TypeConversionException(
                      "expected a release not before "
                          + KernelProfile.LINUX_6_18.release()
                          + ", actual '"
                          + release
                          + "'"));
    }
  }

  /** Finds a protocol by its id. */
  static final class ProtocolConverter implements ITypeConverter<ConversionProtocol> {
    @Override
    public ConversionProtocol convert(String id) {
      return ConversionProtocol.byId(id)
          .orElseThrow(
              () ->
                  new TypeConversionException(
                      "expected one of " + ConversionProtocol.all() + ", actual '" + id + "'"));
    }
  }

  @Override
  public Integer call() {
    PrintWriter out = spec.commandLine().getOut();
    PrintWriter err = spec.commandLine().getErr();
    if (files.isEmpty()) {
      return Recordings.replay(protocol, kernel, out);
    }
    int status = 0;
    for (Path file : files) {
      Trace trace;
      try {
        trace = Trace.parse(file.toString(), Files.readAllLines(file, StandardCharsets.UTF_8));
      } catch (IOException e) {
        err.println(file + ": expected a readable text file: " + e);
        status = 2;
        continue;
      } catch (TraceFormatException e) {
        err.println(e.getMessage());
        status = 2;
        continue;
      }
      Replay.Result result = Replay.run(trace, protocol, kernel == null ? trace.profile() : kernel);
      for (Replay.Difference d : result.differences()) {
        out.printf(
            "%s:%d: %s expected %s got %s%n", file, d.line(), d.call(), d.expected(), d.actual());
      }
      int differ = result.differences().size();
      out.printf(
          "%s: %d calls, %d agree, %d differ%n",
          file, result.calls(), result.calls() - differ, differ);
      if (differ != 0) {
        status = Math.max(status, 1);
      }
    }
    out.flush();
    err.flush();
    return status;
  }
}
