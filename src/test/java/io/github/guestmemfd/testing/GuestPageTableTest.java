package io.github.guestmemfd.testing;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import java.util.function.LongUnaryOperator;

class GuestPageTableTest extends GuestMemfdOpsContract {
  @Override
  protected GuestMemfdOps ops() {
    return new GuestPageTable();
  }

  @Override
  protected GuestMemfdOps ops(GuestSlot slot) {
    return new GuestPageTable(slot);
  }

  @Override
  protected void use(GuestMemfdOps client, GuestMemfd memfd, long offset) {
    ((GuestPageTable) client).map(memfd, offset);
  }

  @Override
  protected boolean access(
      GuestMemfdOps client, GuestMemfd memfd, long offset, LongUnaryOperator number) {
    return ((GuestPageTable) client).access(memfd, offset, number);
  }

  @Override
  protected boolean scrubsFreedFrames() {
    return true;
  }

  @Override
  protected boolean announcesItsSteps() {
    return true; // its lock is not held while it calls the library
  }
}
