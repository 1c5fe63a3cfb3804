package io.github.guestmemfd;

/**
 * What has happened to a file, or to all files of a host, since it was made: a snapshot, immutable.
 *
 * <p>Each number only grows and is exact while nothing is going on. Under way, each is read by
 * itself, so sums of two may be off by what happens between the reads. Reading stops nobody. Calls
 * that are refused for their arguments alone (EINVAL, EBADF) are not counted.
 *
 * <p><b>What a refusal tells.</b> A refused conversion is filed by the counts it saw when it gave
 * up, which is all that the kernel could see. {@code refusedOthersCounted} says that there were
 * more references than the page cache's and those counted as safe; it does not say that somebody
 * would have kept one. A lookup about to be dropped, or a safe holder between its two steps under a
 * protocol that takes them one after the other, looks the same.
 *
 * @param conversionsToInaccessible ranges made inaccessible, also by a pending conversion that
 *     completed, and if they were inaccessible already
 * @param conversionsToAccessible ranges made accessible, also if they were already
 * @param refusedOthersCounted conversions refused with EAGAIN over a folio whose counts showed
 *     references besides the page cache's and the safe ones
 * @param refusedNoOthersCounted conversions refused with EAGAIN over a folio whose counts showed no
 *     others: the protocol refuses because of safe references, or the last other one had just gone
 * @param conversionsFailed conversions that ended otherwise: EINTR, ENOMEM, EBADF, EDEADLK, or what
 *     a callback answered or threw
 * @param retries times a range operation looked at a folio's counts again, idling in between, as
 *     the retry policy says
 * @param holderWaits times a range operation waited on a folio for its holders to let go
 * @param busyWaits times a lookup or an allocation waited for a range operation to be over
 * @param pendingBegun conversions left pending, to be completed by the last holder
 * @param pendingCompleted pending conversions that were completed
 * @param pendingUndone pending conversions that were undone: cancelled, overtaken by another
 *     operation or the end of the file, or refused by a callback. What is begun and neither
 *     completed nor undone is pending now
 * @param punches punches done, also of nothing
 * @param punchesRefused punches that answered anything but OK, or threw
 * @param faults faults of the host in mappings, also to populate
 * @param firstUses folios zeroed and prepared for the first time
 * @param sigbus accesses through a mapping that were a {@link SigBusException}, or where a form for
 *     hot loops answered otherwise for that reason
 * @param slowGrabs lookups by the guest's side that did not find the folio ready at once: they
 *     waited, allocated, prepared, or were refused
 * @param lookupsStartedOver speculative references taken back because the page changed under the
 *     lookup
 * @param memoryFailures pages taken from their users because their memory failed
 * @param poisonedUses times a use of a page was refused with EHWPOISON
 */
public record Metrics(
    long conversionsToInaccessible,
    long conversionsToAccessible,
    long refusedOthersCounted,
    long refusedNoOthersCounted,
    long conversionsFailed,
    long retries,
    long holderWaits,
    long busyWaits,
    long pendingBegun,
    long pendingCompleted,
    long pendingUndone,
    long punches,
    long punchesRefused,
    long faults,
    long firstUses,
    long sigbus,
    long slowGrabs,
    long lookupsStartedOver,
    long memoryFailures,
    long poisonedUses) {}
