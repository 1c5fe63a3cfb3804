package io.github.guestmemfd.lab.workload;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.lab.workload.Request.Op;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** What workloads ask for. */
class WorkloadTest {
  private static final int PAGES = 1024;
  private static final int REQUESTS = 20_000;
  private static final Set<Op> OF_GUESTS = EnumSet.range(Op.ACCEPT, Op.RESTORE);

  /** These convert, give back or write, which only the owner of a page does. */
  private static final Set<Op> OF_OWNERS =
      EnumSet.complementOf(EnumSet.of(Op.PEEK, Op.PEEK_PRIVATE));

  private static List<List<Request>> requests(List<Supplier<Request>> actors) {
    return actors.stream().map(a -> Stream.generate(a).limit(REQUESTS).toList()).toList();
  }

  @ParameterizedTest
  @EnumSource
  void theSameSeedGivesTheSameRequests(Workload workload) {
    Workload.Plan once = workload.plan(PAGES, 4, 7);
    Workload.Plan again = workload.plan(PAGES, 4, 7);
    assertThat(requests(again.vcpus())).isEqualTo(requests(once.vcpus()));
    assertThat(requests(again.hosts())).isEqualTo(requests(once.hosts()));
  }

  @ParameterizedTest
  @EnumSource
  void requestsDoNotDependOnWhoIsAskedFirst(Workload workload) {
    Workload.Plan forwards = workload.plan(PAGES, 2, 7);
    Workload.Plan backwards = workload.plan(PAGES, 2, 7);
    List<List<Request>> first = new ArrayList<>(requests(backwards.hosts()));
    first.addAll(requests(List.of(backwards.vcpus().get(1), backwards.vcpus().get(0))));
    List<List<Request>> guests = requests(forwards.vcpus());
    List<List<Request>> hosts = requests(forwards.hosts());
    assertThat(first.subList(0, hosts.size())).isEqualTo(hosts);
    assertThat(first.subList(hosts.size(), first.size()))
        .containsExactly(guests.get(1), guests.get(0));
  }

  @ParameterizedTest
  @EnumSource
  void anotherSeedGivesOtherRequests(Workload workload) {
    assertThat(requests(workload.plan(PAGES, 2, 8).vcpus()))
        .isNotEqualTo(requests(workload.plan(PAGES, 2, 7).vcpus()));
  }

  @ParameterizedTest
  @EnumSource
  void pagesAreTheGuestsAndConvertedByTheirOwnerAlone(Workload workload) {
    for (int pages : new int[] {64, 192, PAGES}) {
      for (int vcpus : new int[] {1, 3}) {
        int each = pages / vcpus;
        Workload.Plan plan = workload.plan(pages, vcpus, 7);
        List<List<Request>> guests = requests(plan.vcpus());
        for (int i = 0; i < vcpus; i++) {
          int first = i * each;
          assertThat(guests.get(i))
              .allMatch(r -> OF_GUESTS.contains(r.op()))
              .allMatch(r -> r.page() >= 0 && r.pages() > 0 && r.page() + r.pages() <= pages)
              .filteredOn(r -> OF_OWNERS.contains(r.op()))
              .isNotEmpty()
              .allMatch(r -> r.page() >= first && r.page() + r.pages() <= first + each);
        }
        assertThat(requests(plan.hosts()))
            .isNotEmpty()
            .allSatisfy(
                host ->
                    assertThat(host)
                        .noneMatch(r -> OF_GUESTS.contains(r.op()))
                        .allMatch(
                            r -> r.page() >= 0 && r.pages() > 0 && r.page() + r.pages() <= pages));
      }
    }
  }
}
