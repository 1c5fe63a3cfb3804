package io.github.guestmemfd.lab;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.lab.report.Monitor;
import io.github.guestmemfd.lab.report.Session;
import io.github.guestmemfd.lab.report.Survivals;
import io.github.guestmemfd.lab.report.TableReport;
import io.github.guestmemfd.lab.workload.Platform;
import io.github.guestmemfd.lab.workload.Request;
import io.github.guestmemfd.lab.workload.Run;
import io.github.guestmemfd.lab.workload.RunConfig;
import io.github.guestmemfd.lab.workload.TraceRun;
import io.github.guestmemfd.lab.workload.Workload;
import io.github.guestmemfd.policy.ConversionPolicy;
import io.github.guestmemfd.policy.SharedPages;
import io.github.guestmemfd.trace.Trace;
import io.github.guestmemfd.trace.TraceFormatException;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.function.Function;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** The options of a session of the lab, and the runs that follow from them. */
final class LabOptions {
  private static final String ALL = "all";
  private static final String BOTH = "both";
  private static final String DEFAULT_POLICY = "on-fault";
  private static final double DEFAULT_SECONDS = 20;
  private static final long SMALLEST_PART = 256 << 10;
  private static final long LARGEST = 1L << 36;

  @Spec(Spec.Target.MIXEE)
  private CommandSpec spec;

  @Option(
      names = "--seconds",
      paramLabel = "N",
      description = {
        "How long all runs take together, with up to a fifth of it to warm up (default: 20; with"
            + " --full as long as good figures take).",
        "Each run is made once a round, in an order of its own each round, for at least 5 rounds."
      })
  private @Nullable Double seconds;

  @Option(
      names = "--full",
      description =
          "All workloads, with 1 and 4 vCPUs, and all policies with the default protocol too, unless"
              + " they are named.")
  private boolean full;

  @Option(
      names = "--vcpus",
      paramLabel = "N",
      split = ",",
      description =
          "How many vCPUs: a number, or several with commas between (default: 4; with --full 1,4).")
  private @Nullable List<Integer> vcpus;

  @Option(
      names = "--protocol",
      paramLabel = "ID",
      split = ",",
      completionCandidates = Names.Protocols.class,
      description = {
        "Conversion protocols, with commas between, or all (default: all):",
        "${COMPLETION-CANDIDATES}."
      })
  private @Nullable List<String> protocols;

  @Option(
      names = "--policy",
      paramLabel = "ID",
      split = ",",
      completionCandidates = Names.Policies.class,
      description = {
        "Conversion policies, with commas between, or all: ${COMPLETION-CANDIDATES}.",
        "Default: on-fault; with --full, and no protocol named, all with the default protocol too."
      })
  private @Nullable List<String> policies;

  @Option(
      names = "--workload",
      paramLabel = "ID",
      split = ",",
      completionCandidates = Names.Workloads.class,
      description = {
        "Workloads, with commas between, or all (default: share,adversary; with --full all):",
        "${COMPLETION-CANDIDATES}."
      })
  private @Nullable List<String> workloads;

  @Option(
      names = "--platform",
      paramLabel = "ID",
      split = ",",
      completionCandidates = Names.Platforms.class,
      description = {
        "Instead of measuring: which protocols, with hypercall, and which policies, with the default one,"
            + " a guest of these platforms survives; with commas between, or all:",
        "${COMPLETION-CANDIDATES}.",
        "--protocol, --policy, --memory, --discard, --passthrough, --workload, --vcpus, --size,"
            + " --seed, --seconds, --json and --html apply."
      })
  private @Nullable List<String> platforms;

  @Option(
      names = "--trace",
      paramLabel = "FILE",
      description = {
        "Instead of workloads, a recorded run, again and again; can be given several times.",
        "There are no policies then."
      })
  private List<Path> traces = List.of();

  @Option(
      names = "--memory",
      paramLabel = "KIND",
      split = ",",
      defaultValue = "in-place",
      description = {
        "Where shared pages are: in-place, in the file, where they are converted; two, in memory of"
            + " the host beside it; or both, to compare them (default: in-place)."
      })
  private List<String> memories = List.of();

  @Option(
      names = "--discard",
      paramLabel = "WHAT",
      split = ",",
      defaultValue = "never",
      description = {
        "What the monitor discards: private pages that turn shared; shared ones that turn private,"
            + " of two memories; both; or never anything; with commas between, or all"
            + " (default: never).",
        "In place there are no shared ones to discard: shared is never there, both is private."
      })
  private List<String> discards = List.of();

  @Option(
      names = "--passthrough",
      paramLabel = "BYTES",
      split = ",",
      defaultValue = "none",
      description =
          "With two memories, a device that pins what is shared, as VFIO does, and refuses more"
              + " than so many bytes; or none; with commas between (default: none).")
  private List<String> passthroughs = List.of();

  @Option(
      names = "--seed",
      paramLabel = "N",
      defaultValue = "1",
      description =
          "What the requested operations, and the order of the runs, come from (default: 1).")
  private long seed;

  @Option(
      names = "--size",
      paramLabel = "BYTES",
      defaultValue = "16m",
      description = "The guest's memory, in bytes or with k, m or g behind (default: 16m).")
  private String size = "";

  @Option(names = "--json", paramLabel = "FILE", description = "Writes the results as JSON.")
  private @Nullable Path json;

  @Option(
      names = "--html",
      paramLabel = "FILE",
      description = "Writes the results as a web page, with charts.")
  private @Nullable Path html;

  @Option(
      names = {"-v", "--verbose"},
      description = "Shows every run in the table.")
  private boolean verbose;

  @Option(
      names = "--explain",
      description = "Runs nothing: says what each column of the tables means.")
  private boolean explain;

  @Option(
      names = "--requests",
      paramLabel = "N",
      defaultValue = "0",
      description = "Runs nothing: shows the first N requests of each actor.")
  private int requests;

  /** Runs the command, and returns the exit status. */
  int run() {
    CommandLine commandLine = spec.commandLine();
    PrintWriter out = commandLine.getOut();
    if (explain) {
      TableReport.explain(out);
      return 0;
    }
    if (requests > 0) {
      printRequests(workloadRuns(), out);
      return 0;
    }
    if (platforms != null) {
      return survival(platforms).run();
    }
    List<? extends Run> runs = traces.isEmpty() ? workloadRuns() : traceRuns();
    Lab.Reports reports = reports();
    Session.Options options =
        new Session.Options(arguments(), seconds(runs.size()), seed, parseSize());
    return new Lab(runs, options, reports, out, commandLine.getErr()).run();
  }

  /** Where reports go, which is known to be possible. */
  private Lab.Reports reports() {
    checkWritable("--json", json);
    checkWritable("--html", html);
    check(
        json == null || html == null || !json.toAbsolutePath().equals(html.toAbsolutePath()),
        "--html: expected another file than that of --json, actual " + html);
    return new Lab.Reports(verbose, json, html);
  }

  private List<String> arguments() {
    CommandLine.ParseResult parsed = spec.commandLine().getParseResult();
    return parsed == null ? List.of() : parsed.originalArgs();
  }

  private double seconds(int runs) {
    if (seconds != null) {
      return seconds;
    }
    return full ? Rounds.Plan.enoughSeconds(runs) : DEFAULT_SECONDS;
  }

  private List<Integer> vcpus() {
    if (vcpus != null) {
      return distinct(vcpus);
    }
    return full ? List.of(1, 4) : List.of(4);
  }

  private List<String> workloads() {
    if (workloads != null) {
      return workloads;
    }
    return full ? List.of(ALL) : List.of(Workload.SHARE.id(), Workload.ADVERSARY.id());
  }

  private void checkNumbers(long bytes) {
    check(
        seconds == null || (seconds > 0 && seconds <= 1e6),
        "--seconds: expected more than 0, actual " + seconds);
    check(requests >= 0, "--requests: expected 0 or more, actual " + requests);
    for (int n : vcpus()) {
      check(n >= 1 && n <= 1024, "--vcpus: expected 1 to 1024, actual " + n);
      check(
          bytes / n >= SMALLEST_PART,
          "--size: expected at least 256k for each of " + n + " vCPUs, actual " + size);
    }
  }

  private List<TraceRun> traceRuns() {
    checkNumbers(parseSize());
    List<TraceRun> runs = new ArrayList<>();
    for (Path file : traces) {
      Trace trace;
      try {
        trace = Trace.parse(file.toString(), Files.readAllLines(file, StandardCharsets.UTF_8));
      } catch (IOException | TraceFormatException e) {
        throw new ParameterException(
            spec.commandLine(), "--trace: expected a trace file, actual " + file + ": " + e, e);
      }
      for (ConversionProtocol protocol : protocols()) {
        for (int n : vcpus()) {
          runs.add(new TraceRun(trace, String.valueOf(file.getFileName()), protocol, n, 1));
        }
      }
    }
    return runs;
  }

  private List<RunConfig> workloadRuns() {
    long bytes = parseSize();
    checkNumbers(bytes);
    List<Workload> chosen =
        choose("--workload", workloads(), Arrays.asList(Workload.values()), Workload::id);
    List<RunConfig> runs = new ArrayList<>();
    for (Pair pair : pairs()) {
      for (Monitor monitor : monitors()) {
        for (Workload workload : chosen) {
          for (int n : vcpus()) {
            runs.add(
                new RunConfig(pair.protocol, pair.policy, monitor, workload, n, bytes, 1, seed));
          }
        }
      }
    }
    return runs;
  }

  private List<Monitor> monitors() {
    List<Monitor.Memory> kinds =
        choose(
            "--memory", memories, Arrays.asList(Monitor.Memory.values()), Monitor.Memory::id, BOTH);
    List<Monitor.Discard> discarded =
        choose("--discard", discards, Arrays.asList(Monitor.Discard.values()), Monitor.Discard::id);
    List<Long> pinnable = passthroughs.stream().map(this::pinnable).toList();
    if (!kinds.contains(Monitor.Memory.TWO)) {
      String inPlace = " with --memory in-place, which has no other memory; actual ";
      check(
          discarded.stream().allMatch(d -> d.onPrivate() == SharedPages.KEEP)
              || discards.equals(List.of(ALL)),
          "--discard: expected never or private" + inPlace + String.join(",", discards));
      check(
          pinnable.stream().allMatch(n -> n == 0),
          "--passthrough: expected none" + inPlace + String.join(",", passthroughs));
    }
    List<Monitor> all = new ArrayList<>();
    for (Monitor.Memory kind : kinds) {
      for (Monitor.Discard what : discarded) {
        for (long bytes : pinnable) {
          all.add(new Monitor(kind, what, bytes));
        }
      }
    }
    return distinct(all); // in place some are the same
  }

  /** How much a device may pin; 0 for none. */
  private long pinnable(String text) {
    return text.equals("none") ? 0 : bytes("--passthrough", text, ", or none");
  }

  private PlatformTable survival(List<String> ids) {
    long bytes = parseSize();
    checkNumbers(bytes);
    check(traces.isEmpty() && !full, "--platform: expected without --trace and --full");
    List<Monitor> kinds = monitors();
    List<Platform> chosen =
        choose("--platform", ids, Arrays.asList(Platform.values()), Platform::id);
    check(
        chosen.stream().anyMatch(p -> kinds.stream().anyMatch(k -> p.has(k.memory()))),
        "--memory: expected in-place for "
            + ids(chosen, Platform::id)
            + ", of which there is no monitor with two memories");
    List<Workload> loads =
        choose(
            "--workload",
            workloads == null ? PlatformTable.WORKLOADS : workloads,
            Arrays.asList(Workload.values()),
            Workload::id);
    // Of what is named only that; of neither both.
    boolean ofProtocols = policies == null || protocols != null;
    boolean ofPolicies = protocols == null || policies != null;
    List<RunConfig> configs = new ArrayList<>();
    List<Pair> pairs = new ArrayList<>();
    for (ConversionProtocol p : ofProtocols ? protocols() : List.<ConversionProtocol>of()) {
      pairs.add(new Pair(p, Survivals.POLICY));
    }
    for (String policy : ofPolicies ? policiesOrAll() : List.<String>of()) {
      pairs.add(new Pair(ConversionProtocol.atomicPair(), policy));
    }
    for (Monitor kind : kinds) {
      for (Pair pair : distinct(pairs)) {
        for (Workload load : loads) {
          for (int n : vcpus == null ? List.of(2) : vcpus()) {
            configs.add(new RunConfig(pair.protocol, pair.policy, kind, load, n, bytes, 1, seed));
          }
        }
      }
    }
    CommandLine commandLine = spec.commandLine();
    return new PlatformTable(
        chosen,
        configs,
        seconds,
        new Session.Options(arguments(), 0, seed, bytes),
        reports(),
        commandLine.getOut(),
        commandLine.getErr());
  }

  private List<String> policiesOrAll() {
    return policies == null ? ConversionPolicy.ids() : policies();
  }

  private record Pair(ConversionProtocol protocol, String policy) {}

  /** The protocols, each with the policies that it runs with. */
  private List<Pair> pairs() {
    List<Pair> pairs = new ArrayList<>();
    List<ConversionProtocol> chosen = protocols();
    for (ConversionProtocol protocol : chosen) {
      for (String policy : policies == null ? List.of(DEFAULT_POLICY) : policies()) {
        pairs.add(new Pair(protocol, policy));
      }
    }
    if (full && protocols == null && policies == null) {
      for (String policy : ConversionPolicy.ids()) {
        if (!policy.equals(DEFAULT_POLICY)) {
          pairs.add(new Pair(ConversionProtocol.atomicPair(), policy));
        }
      }
    }
    return pairs;
  }

  private List<ConversionProtocol> protocols() {
    if (protocols == null || protocols.equals(List.of(ALL))) {
      return ConversionProtocol.all();
    }
    List<ConversionProtocol> chosen = new ArrayList<>();
    for (String id : distinct(protocols)) {
      chosen.add(
          ConversionProtocol.byId(id)
              .orElseThrow(
                  () ->
                      wrong(
                          "--protocol",
                          orAll(ids(ConversionProtocol.all(), p -> p.id()), ALL),
                          id)));
    }
    return chosen;
  }

  private List<String> policies() {
    List<String> known = ConversionPolicy.ids();
    return choose("--policy", policies == null ? List.of() : policies, known, id -> id);
  }

  private <T> List<T> choose(
      String option, List<String> names, List<T> known, Function<T, String> id) {
    return choose(option, names, known, id, ALL);
  }

  /** The things that are named; all of them by one word, alone. */
  private <T> List<T> choose(
      String option, List<String> names, List<T> known, Function<T, String> id, String all) {
    if (names.equals(List.of(all))) {
      return known;
    }
    List<T> chosen = new ArrayList<>();
    for (String name : distinct(names)) {
      chosen.add(
          known.stream()
              .filter(k -> id.apply(k).equals(name))
              .findFirst()
              .orElseThrow(() -> wrong(option, orAll(ids(known, id), all), name)));
    }
    return chosen;
  }

  /** Removes duplicates: a combination that is named twice is run once. */
  private static <T> List<T> distinct(List<T> named) {
    return named.stream().distinct().toList();
  }

  private static String orAll(String ids, String all) {
    return ids + ", or " + all + " alone";
  }

  private static <T> String ids(List<T> known, Function<T, String> id) {
    return known.stream().map(id).collect(Collectors.joining(", "));
  }

  private long parseSize() {
    return bytes("--size", size, "");
  }

  private long bytes(String option, String value, String otherwise) {
    String text = value.toLowerCase(Locale.ROOT);
    int shift = "kmg".indexOf(text.isEmpty() ? ' ' : text.charAt(text.length() - 1));
    try {
      long number = Long.parseLong(shift < 0 ? text : text.substring(0, text.length() - 1));
      long bytes = Math.multiplyExact(number, 1L << (10 * (shift + 1)));
      if (bytes > 0 && bytes <= LARGEST && bytes % 4096 == 0) {
        return bytes;
      }
    } catch (NumberFormatException | ArithmeticException e) {
      // said below
    }
    throw wrong(option, "a multiple of 4096 up to 64g" + otherwise, value);
  }

  private void checkWritable(String option, @Nullable Path file) {
    if (file == null) {
      return;
    }
    Path directory = file.toAbsolutePath().getParent();
    check(
        !Files.isDirectory(file)
            && directory != null
            && Files.isWritable(Files.exists(file) ? file : directory),
        option + ": expected a file that can be written, actual " + file);
  }

  private void check(boolean holds, String otherwise) {
    if (!holds) {
      throw new ParameterException(spec.commandLine(), otherwise);
    }
  }

  private ParameterException wrong(String option, String expected, String actual) {
    return new ParameterException(
        spec.commandLine(), option + ": expected " + expected + "; actual '" + actual + "'");
  }

  /** What actors ask for depends on the workload, its size, the vCPUs and the seed alone. */
  private void printRequests(List<RunConfig> runs, PrintWriter out) {
    runs.stream()
        .map(r -> new Requested(r.workload(), r.vcpus(), r.size(), r.seed()))
        .distinct()
        .forEach(r -> r.print(requests, out));
    out.flush();
  }

  private record Requested(Workload workload, int vcpus, long size, long seed) {
    void print(int n, PrintWriter out) {
      Workload.Plan plan = workload.plan((int) (size / 4096), vcpus, seed);
      print("vcpu", plan.vcpus(), n, out);
      print("host", plan.hosts(), n, out);
    }

    private void print(String who, List<Supplier<Request>> actors, int n, PrintWriter out) {
      for (int i = 0; i < actors.size(); i++) {
        out.printf("# %s, %d vCPUs, seed %d: %s %d%n", workload.id(), vcpus, seed, who, i);
        for (int j = 0; j < n; j++) {
          out.println(actors.get(i).get());
        }
      }
    }
  }
}
