package io.github.guestmemfd.testing;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import java.util.function.LongUnaryOperator;

/** The contract, run on a page table that is a little different from {@link GuestPageTable}. */
abstract class ClientSample extends GuestMemfdOpsContract {

  abstract GuestPageTable table(GuestSlot slot);

  @Override
  protected GuestMemfdOps ops() {
    throw new IllegalStateException("every file has a slot");
  }

  @Override
  protected GuestMemfdOps ops(GuestSlot slot) {
    return table(slot);
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
}
