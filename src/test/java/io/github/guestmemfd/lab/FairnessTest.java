package io.github.guestmemfd.lab;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.ForwardingProtocol;
import io.github.guestmemfd.lab.report.Monitor;
import io.github.guestmemfd.lab.report.Session;
import io.github.guestmemfd.lab.workload.RunConfig;
import io.github.guestmemfd.lab.workload.Workload;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The lab tests itself: what is the same is a tie, and what is slower is found. */
class FairnessTest {
  private static final long SIZE = 2 << 20;

  /** Eight rounds of two runs of 0.04 s, and the warm-up. */
  private static final double SECONDS = 0.8;

  private static final int SESSIONS = 20;

  /** A protocol under another name. */
  private static class Renamed extends ForwardingProtocol {
    private final String id;

    Renamed(String id) {
      super(ConversionProtocol.lastPut());
      this.id = id;
    }

    @Override
    public String id() {
      return id;
    }
  }

  /** The verdict of a session, as it is printed. */
  private static List<String> verdict(long seed, ConversionProtocol... protocols) {
    List<RunConfig> runs =
        Stream.of(protocols)
            .map(
                p ->
                    new RunConfig(
                        p, "on-fault", Monitor.IN_PLACE, Workload.SHARE, 2, SIZE, 1, seed))
            .toList();
    StringWriter out = new StringWriter();
    Session.Options options = new Session.Options(List.of(), SECONDS, seed, SIZE);
    int status =
        new Lab(
                runs,
                options,
                new Lab.Reports(false, null, null),
                new PrintWriter(out),
                new PrintWriter(new StringWriter()))
            .run();
    assertThat(status).as(out.toString()).isZero();
    return out.toString()
        .lines()
        .dropWhile(line -> !line.startsWith("Verdict"))
        .skip(1)
        .takeWhile(line -> !line.isBlank())
        .toList();
  }

  @Test
  void oneProtocolUnderTwoNamesIsATie() {
    List<List<String>> sessions =
        IntStream.range(0, SESSIONS)
            .mapToObj(seed -> verdict(seed, new Renamed("one"), new Renamed("other")))
            .toList();
    assertThat(sessions).allSatisfy(rows -> assertThat(rows).hasSize(2));
    assertThat(sessions)
        .filteredOn(rows -> rows.stream().anyMatch(row -> row.endsWith(", a tie")))
        .hasSizeGreaterThanOrEqualTo(SESSIONS - 1);
  }

  @Test
  void aProtocolThatIsSlowedDownIsFound() {
    ConversionProtocol slow =
        new Renamed("slow") {
          @Override
          public boolean mayTurnInaccessible(int refs, int safe) {
            LockSupport.parkNanos(1_000_000);
            return super.mayTurnInaccessible(refs, safe);
          }
        };
    List<String> rows = verdict(1, slow, new Renamed("fast"));
    assertThat(rows).hasSize(2);
    assertThat(rows.get(0)).startsWith("slow ").doesNotEndWith("a tie").endsWith(")");
    assertThat(rows.get(1)).startsWith("fast ").endsWith("fastest sound");
  }
}
