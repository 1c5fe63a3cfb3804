package io.github.guestmemfd.testing;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import java.util.List;
import java.util.Optional;
import java.util.function.LongUnaryOperator;

/** What {@link GuestMemfdOpsContract} knows of the client that it tests. */
interface ClientHooks {
  GuestMemfdOps ops(GuestSlot slot);

  Optional<GuestMemfdOps> passingOn(GuestSlot slot, List<GuestMemfdOps> next);

  void use(GuestMemfdOps client, GuestMemfd memfd, long offset);

  boolean access(GuestMemfdOps client, GuestMemfd memfd, long offset, LongUnaryOperator number);
}
