package io.github.guestmemfd.kvm;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.fixtures.VmFixture;
import org.junit.jupiter.api.Test;

/** Memslots by guest address: four, the last one behind a gap, and all but that of one file. */
class MemslotsTest extends VmFixture {
  private static final long END = GPA + 8L * PAGE;

  private Memslots memslots() {
    GuestMemfd memfd = file(8);
    vm.bind(7, GPA + 6L * PAGE, 2L * PAGE, file(2), 0);
    vm.bind(1, GPA + 2L * PAGE, 2L * PAGE, memfd, 2L * PAGE);
    vm.bind(5, GPA + 4L * PAGE, PAGE, memfd, 5L * PAGE); // a gap in the file before it
    vm.bind(3, GPA, 2L * PAGE, memfd, 0);
    return vm.regions.memslots();
  }

  private static int number(BoundSlot slot) {
    return slot == null ? -1 : slot.memslot.slot();
  }

  @Test
  void areSortedByGuestAddress() {
    assertThat(memslots().all()).extracting(MemslotsTest::number).containsExactly(3, 1, 5, 7);
    assertThat(Memslots.NONE.all()).isEmpty();
  }

  @Test
  void findsTheOneThatCoversAnAddressAndElseTheNext() {
    Memslots memslots = memslots();
    int[] covers = {-1, 3, 3, 1, 1, 5, -1, 7, 7, -1};
    int[] next = {3, 3, 3, 1, 1, 5, 7, 7, 7, -1};
    for (int i = 0; i < covers.length; i++) {
      for (long in : new long[] {0, 1, PAGE - 1}) {
        long gpa = GPA + (i - 1L) * PAGE + in;
        assertThat(number(memslots.find(gpa))).as("at %x", gpa).isEqualTo(covers[i]);
        assertThat(number(memslots.next(gpa))).as("from %x", gpa).isEqualTo(next[i]);
      }
    }
    assertThat(Memslots.NONE.find(GPA)).isNull();
    assertThat(Memslots.NONE.next(0)).isNull();
  }

  @Test
  void knowsTheFirstAddressWithoutMemory() {
    Memslots memslots = memslots();
    assertThat(memslots.firstMissing(GPA, 5L * PAGE)).isEqualTo(-1);
    assertThat(memslots.firstMissing(GPA, 8L * PAGE)).isEqualTo(GPA + 5L * PAGE);
    assertThat(memslots.firstMissing(GPA - PAGE, 2L * PAGE)).isEqualTo(GPA - PAGE);
    assertThat(memslots.firstMissing(END - PAGE, 2L * PAGE)).isEqualTo(END);
  }

  @Test
  void aPieceGoesOnAsLongAsItsFileDoes() {
    Memslots memslots = memslots();
    BoundSlot first = memslots.all().get(0);
    assertThat(memslots.endOfPiece(first, GPA + PAGE)).isEqualTo(GPA + PAGE);
    assertThat(memslots.endOfPiece(first, GPA + 3L * PAGE)).isEqualTo(GPA + 3L * PAGE);
    assertThat(memslots.endOfPiece(first, END)).isEqualTo(GPA + 4L * PAGE);
    assertThat(memslots.endOfPiece(memslots.all().get(2), END)).isEqualTo(GPA + 5L * PAGE);
  }

  @Test
  void aChangeMakesOthersAndLeavesTheseAsTheyAre() {
    Memslots before = memslots();
    vm.unbind(5);
    assertThat(vm.regions.memslots()).isNotSameAs(before);
    assertThat(vm.regions.memslots().find(GPA + 4L * PAGE)).isNull();
    assertThat(number(before.find(GPA + 4L * PAGE))).isEqualTo(5);
  }

  @Test
  void saysThatThereIsNone() {
    assertThat(memslots().why(Errno.ENOENT, END)).isEqualTo("no memslot at 0x108000");
  }
}
