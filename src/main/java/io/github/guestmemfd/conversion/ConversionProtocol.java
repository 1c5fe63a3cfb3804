package io.github.guestmemfd.conversion;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.ServiceLoader;
import java.util.stream.Stream;

/**
 * A way to tell whether a holder on the host can still reach a folio that is to become
 * inaccessible: what a guest-side holder does to hold a folio, and which counts a conversion lets
 * pass.
 *
 * <p>The library ships eight, one for each way that the mail thread and the patch series around it
 * propose; a client may write a ninth. A protocol is a description: the library does the counting,
 * the waiting and the locking. What it does for every protocol alike:
 *
 * <ul>
 *   <li>Host-side holders (mappings, GUP) take a plain reference, in one step.
 *   <li>Every lookup reads the page's slot again after its first step, and gives up if it changed.
 *   <li>A conversion first makes its pages busy, so that no lookup succeeds any more; then removes
 *       them from every host mapping; then waits for each folio lock to be free, unless the
 *       protocol {@linkplain #refusesOutright refuses outright}; then asks {@link
 *       #mayTurnInaccessible}; and changes the pages only when all folios have passed.
 * </ul>
 *
 * <p>Implementations must be stateless or thread-safe, must not block, and must always give the
 * same answers: the library asks for the steps and traits once, when a file is created.
 *
 * @see <a href="https://lore.kernel.org/all/?q=guest_memfd+mmap">the mail thread that names
 *     them</a>
 */
public interface ConversionProtocol {

  /**
   * The name of the protocol on a command line and in reports.
   *
   * @return lower-case words joined by hyphens
   */
  String id();

  /**
   * When to choose the protocol, for reports.
   *
   * @return the rest of a sentence that begins with "Choose it", with its full stop; empty by
   *     default, for a protocol that does not say
   */
  default String chooseIt() {
    return "";
  }

  /**
   * Whether a folio with these counts may turn inaccessible. Both counts come from one atomic read.
   *
   * @param refs all references on the folio; the page cache's is one, a pin counts 1024, and each
   *     guest-side holder counts if its steps raise this count
   * @param safe the safe references, raised by guest-side holders if their steps say so
   * @return true if no unsafe holder can have the folio
   */
  boolean mayTurnInaccessible(int refs, int safe);

  /**
   * What a guest-side holder does to hold a folio, in this order.
   *
   * <p>The first step must be {@link Step#REF}, {@link Step#REF_AND_SAFE} or {@link Step#LOCK}, or
   * {@link Step#SAFE} alone; each step comes at most once. A reference that is taken later must be
   * taken with the folio locked, for without the lock or a reference the frame may be another's.
   * After the last step something must be held.
   *
   * @return the steps
   */
  default List<Step> guestTakes() {
    return List.of(Step.REF_AND_SAFE);
  }

  /**
   * What a guest-side holder gives back, in this order: exactly what it still holds.
   *
   * @return the steps; by default the reverse of {@link #guestTakes}, without a lock that was given
   *     back already
   */
  default List<Step> guestDrops() {
    List<Step> held = new ArrayList<>(guestTakes());
    if (held.remove(Step.UNLOCK)) {
      held.remove(Step.LOCK);
    }
    Collections.reverse(held);
    return held;
  }

  /**
   * Whether a folio with these counts may be punched out of its file. Asked after {@code
   * invalidateBegin}, by which clients are to drop their safe references; a punch that is refused
   * answers EBUSY and changes nothing. At the end of the file the protocol is not asked.
   *
   * <p>So that a refusal changes nothing, the pages are still mapped: a reference for each host
   * mapping that has the page is among the references, and goes with the punch. The answer can
   * depend on the safe count, and not on how many references there are beside.
   *
   * @param refs as for {@link #mayTurnInaccessible}, those of host mappings included
   * @param safe as for {@link #mayTurnInaccessible}
   * @return true if what is left of the holders does no harm
   */
  default boolean mayPunch(int refs, int safe) {
    return true;
  }

  /**
   * Whether it makes sense to look again, as the retry policy says, at a folio that may not change
   * now.
   *
   * @param refs as for {@link #mayTurnInaccessible}
   * @param safe as for {@link #mayTurnInaccessible}
   * @param accessible the users that asked for the folio to be accessible and still want it so; of
   *     the references, each has one that is not safe
   * @return true by default; false to refuse at once
   */
  default boolean isWorthWaiting(int refs, int safe, int accessible) {
    return true;
  }

  /**
   * Whether a conversion is refused at once for a folio with these counts, as one that may be
   * pinned: its lock is not waited for, LRU batches, which may hold the folio too, are not drained,
   * and the retry policy is not asked. Asked once for each folio, first of all. It is of account
   * only if {@link #mayTurnInaccessible} says no.
   *
   * @param refs as for {@link #mayTurnInaccessible}
   * @param safe as for {@link #mayTurnInaccessible}
   * @return false by default
   */
  default boolean refusesOutright(int refs, int safe) {
    return false;
  }

  /**
   * Whether a conversion freezes each folio that passes (its count becomes 0, so to speak, and no
   * thread can take a reference or give one back) until all of the range is converted or given up.
   * A folio can be frozen only while the page cache is its only holder: not even a guest-side
   * holder without a reference may have it. So with a protocol that freezes, any holder is in the
   * way, even if {@link #mayTurnInaccessible} lets it pass.
   *
   * @return false by default
   */
  default boolean freezes() {
    return false;
  }

  /**
   * Whether a conversion keeps a folio locked while it waits for the counts of that folio.
   *
   * @return false by default
   */
  default boolean waitsWithFolioLock() {
    return false;
  }

  /**
   * Whether conversions and punches make the whole file busy, not just their range.
   *
   * @return false by default
   */
  default boolean locksWholeFile() {
    return false;
  }

  /**
   * The policy of files that are not given one of their own: what the protocol's source does on a
   * mismatch.
   *
   * <p>The default is meant for holders that have a folio for a moment only, and are preempted just
   * then: the wait, which ends when the holder lets go, lasts a few turns of a busy scheduler. It
   * delays nothing but a refusal.
   *
   * @return by default: look again 256 times, then wait up to 100 ms
   */
  default RetryPolicy retryPolicy() {
    return RetryPolicy.spinThenWait(256, Duration.ofMillis(100));
  }

  /**
   * Whether the protocol claims that a conversion which succeeded leaves no host holder with access
   * to the content.
   *
   * @return false for a protocol that is kept to show its flaw
   */
  default boolean isSound() {
    return true;
  }

  /**
   * Refuses what is pinned, and nothing else; unsound.
   *
   * @return the protocol {@code pin-check}
   */
  static ConversionProtocol pinCheck() {
    return PinCheck.INSTANCE;
  }

  /**
   * Two counters, raised one after the other.
   *
   * @return the protocol {@code both-counters}
   */
  static ConversionProtocol bothCounters() {
    return BothCounters.INSTANCE;
  }

  /**
   * Guest-side holders raise the safe count alone.
   *
   * @return the protocol {@code safe-only}
   */
  static ConversionProtocol safeOnly() {
    return SafeOnly.INSTANCE;
  }

  /**
   * Guest-side holders hold the folio lock and nothing else.
   *
   * @return the protocol {@code lock-only}
   */
  static ConversionProtocol lockOnly() {
    return LockOnly.INSTANCE;
  }

  /**
   * Two counters, and a wait for them with the folio locked.
   *
   * @return the protocol {@code timed-wait}
   */
  static ConversionProtocol timedWait() {
    return TimedWait.INSTANCE;
  }

  /**
   * Freezes the count; a conversion that cannot freeze it at once completes at the last put.
   *
   * @return the protocol {@code last-put}
   */
  static ConversionProtocol lastPut() {
    return LastPut.INSTANCE;
  }

  /**
   * One lock for the whole file; pins are refused before the counts are looked at.
   *
   * @return the protocol {@code invalidate-lock}
   */
  static ConversionProtocol invalidateLock() {
    return InvalidateLock.INSTANCE;
  }

  /**
   * The earlier rule of {@link #invalidateLock}, which looked at the counts alone. It is not one of
   * {@link #all}.
   *
   * @return the protocol {@code invalidate-lock-v8}
   */
  static ConversionProtocol invalidateLockV8() {
    return InvalidateLock.V8;
  }

  /**
   * Both counters in one word, raised and lowered together: the default.
   *
   * @return the protocol {@code atomic-pair}
   */
  static ConversionProtocol atomicPair() {
    return AtomicPair.INSTANCE;
  }

  /**
   * Every protocol that the library ships, oldest first, but for an {@linkplain #invalidateLockV8
   * earlier version} of one.
   *
   * @return an immutable list
   */
  static List<ConversionProtocol> all() {
    return List.of(
        pinCheck(),
        bothCounters(),
        safeOnly(),
        lockOnly(),
        timedWait(),
        lastPut(),
        invalidateLock(),
        atomicPair());
  }

  /**
   * Finds a protocol by its name: a shipped one or, if there is none of that name, a user's own
   * that is a service of this type ({@link ServiceLoader}): public, with a public constructor
   * without parameters, and named in {@code META-INF/services} or by {@code provides} in a module.
   *
   * @param id the name
   * @return the protocol, or nothing if there is none of that name
   * @throws java.util.ServiceConfigurationError if a service cannot be loaded
   */
  static Optional<ConversionProtocol> byId(String id) {
    Objects.requireNonNull(id, "id");
    return Stream.concat(
            Stream.concat(all().stream(), Stream.of(invalidateLockV8())),
            ServiceLoader.load(ConversionProtocol.class).stream().map(ServiceLoader.Provider::get))
        .filter(p -> p.id().equals(id))
        .findFirst();
  }
}
