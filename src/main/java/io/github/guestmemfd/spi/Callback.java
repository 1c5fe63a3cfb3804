package io.github.guestmemfd.spi;

import java.util.Collections;
import java.util.EnumSet;
import java.util.Set;

/**
 * The code outside the library that it calls, and the locks that the calling thread may hold then.
 * {@link LockOrder} checks that.
 *
 * <p>What an outer caller on the same thread holds is not listed: a {@linkplain
 * LockClass#KEPT_FOLIO_LOCK kept folio lock}, which is the user's own.
 */
public enum Callback {
  /** {@code GuestMemfdOps.invalidateBegin}. */
  INVALIDATE_BEGIN(LockClass.CONVERTED_RANGE, LockClass.INVALIDATE_LOCK),
  /** {@code GuestMemfdOps.invalidateEnd}. */
  INVALIDATE_END(LockClass.CONVERTED_RANGE, LockClass.INVALIDATE_LOCK),
  /** {@code GuestMemfdOps.prepareAccessible} and {@code prepareInaccessible}. */
  PREPARE(LockClass.CONVERTED_RANGE, LockClass.INVALIDATE_LOCK, LockClass.FOLIO_LOCK),
  /** {@code GuestMemfdOps.makePrivate}. */
  MAKE_PRIVATE(LockClass.CONVERTED_RANGE, LockClass.FOLIO_LOCK),
  /** {@code GuestMemfdOps.makeShared}. */
  MAKE_SHARED(LockClass.CONVERTED_RANGE, LockClass.INVALIDATE_LOCK),
  /** {@code GuestMemfdOps.freeFolio}: what a punch or a window holds, or a callback. */
  FREE_FOLIO(
      LockClass.CONVERTED_RANGE,
      LockClass.MMAP_LOCK,
      LockClass.INVALIDATE_LOCK,
      LockClass.FOLIO_LOCK,
      LockClass.WINDOW),
  /** {@code GuestMemfdOps.release}. */
  RELEASE(LockClass.INVALIDATE_LOCK),
  /** {@code kvm.MachineOps}, of a machine with two memories: what a conversion handler holds. */
  MACHINE_OPS(LockClass.CONVERTED_RANGE),
  /** A listener to the calls of a program, outside any callback of the above. */
  LISTENER(LockClass.CONVERTED_RANGE),
  /** What depends on the future of a pending conversion. */
  DEPENDENT,
  /** The executor of a host, which may run a task at once. */
  EXECUTOR,
  /** A conversion policy or its observer, outside any callback of the above. */
  POLICY,
  /** A listener to what is shared, of a machine with two memories. */
  SHARED_MEMORY_LISTENER(LockClass.CONVERTED_RANGE),
  /** The handler of a vCPU's exits, outside any callback of the above. */
  EXIT_HANDLER,
  /** The task of a window on a mapping, outside any callback of the above. */
  WINDOW(LockClass.ACCESS),
  /** A race hook. */
  RACE_HOOK(
      LockClass.CONVERTED_RANGE,
      LockClass.MMAP_LOCK,
      LockClass.INVALIDATE_LOCK,
      LockClass.FOLIO_LOCK,
      LockClass.WINDOW,
      LockClass.ACCESS);

  @SuppressWarnings("ImmutableEnumChecker") // filled by the constructor alone
  private final Set<LockClass> held = EnumSet.of(LockClass.KEPT_FOLIO_LOCK);

  Callback(LockClass... held) {
    Collections.addAll(this.held, held);
  }

  /** Whether its caller may hold a lock of a class. */
  boolean mayHold(LockClass lock) {
    return held.contains(lock);
  }
}
