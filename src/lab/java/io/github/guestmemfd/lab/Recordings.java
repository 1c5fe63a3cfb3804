package io.github.guestmemfd.lab;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.trace.Replay;
import io.github.guestmemfd.trace.Trace;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The recordings that come with the command line. */
final class Recordings {

  static final List<String> NAMES =
      List.of(
          "conversions-basic.trace",
          "conversions-pinned.trace",
          "random-1.trace",
          "random-2.trace",
          "random-3.trace",
          "random-4.trace",
          "random-5.trace",
          "random-6.trace");

  private Recordings() {}

  /**
   * Replays all of them; the status is 0 if nothing differs.
   *
   * @param kernel whose answers the model gives; null for the kernel that each was made by
   */
  static int replay(ConversionProtocol protocol, @Nullable KernelProfile kernel, PrintWriter out) {
    out.println(
        "Replaying recorded guest_memfd runs against the model, protocol "
            + protocol.id()
            + (kernel == null ? "" : ", as Linux " + kernel.release()));
    out.println();
    out.printf("  %-26s %7s %7s %7s%n", "recording", "calls", "agree", "differ");
    int calls = 0;
    int differ = 0;
    for (String name : NAMES) {
      Trace trace = read(name);
      Replay.Result result = Replay.run(trace, protocol, kernel == null ? trace.profile() : kernel);
      int n = result.differences().size();
      out.printf("  %-26s %7d %7d %7d%n", name, result.calls(), result.calls() - n, n);
      calls += result.calls();
      differ += n;
    }
    out.printf("  %-26s %7d %7d %7d%n", "total", calls, calls - differ, differ);
    out.println();
    out.println(
        differ == 0
            ? "The model answered every call as recorded. To replay your own: replay FILE..."
            : "The model differs. To see where, replay the file: replay FILE...");
    out.flush();
    return differ == 0 ? 0 : 1;
  }

  static Trace read(String name) {
    try (InputStream in = Recordings.class.getResourceAsStream("recordings/" + name)) {
      if (in == null) {
        throw new IllegalStateException("the recording " + name + " is missing from the jar");
      }
      BufferedReader reader =
          new BufferedReader(new InputStreamReader(in, StandardCharsets.US_ASCII));
      return Trace.parse(name, reader.lines().toList());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
