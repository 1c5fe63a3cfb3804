package io.github.guestmemfd.testing;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;

class GuestPageTableTest extends GuestMemfdOpsContract {
  @Override
  protected GuestMemfdOps ops() {
    return new GuestPageTable();
  }

  @Override
  protected void use(GuestMemfdOps client, GuestMemfd memfd, long offset) {
    ((GuestPageTable) client).map(memfd, offset);
  }
}
