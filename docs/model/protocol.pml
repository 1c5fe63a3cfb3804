/*
 * The eight protocols, as ConversionProtocol describes them: what a guest-side holder does, when a folio may turn
 * inaccessible or be punched, and what a conversion does on a mismatch. Which one it is, is chosen by -DPROTOCOL=NAME.
 */

#define PIN_CHECK_PROTOCOL 1
#define BOTH_COUNTERS 2
#define SAFE_ONLY 3
#define LOCK_ONLY 4
#define TIMED_WAIT 5
#define LAST_PUT 6
#define INVALIDATE_LOCK 7
#define ATOMIC_PAIR 8

/* What a conversion does on a mismatch: chosen by -DPOLICY=NAME, else the protocol's own. */
#define FAILS 1         /* refuses */
#define WAITS 2         /* waits until the folio may change, however long */
#define WAITS_A_WHILE 3 /* the same, but its time may be up at any moment */
#define WAITS_IN_VAIN 4 /* the same, but its time is up only when no process can go on: the longest time there is */
#define LATER 5         /* is left pending */

/* ---- the guest's side: what the lookup takes (GET_...), and the steps after it; see take and drop ---- */

#if PROTOCOL == BOTH_COUNTERS || PROTOCOL == TIMED_WAIT
#define GET_REF 1
#define GET_SAFE 0
#elif PROTOCOL == SAFE_ONLY
#define GET_REF 0
#define GET_SAFE 1
#elif PROTOCOL == LOCK_ONLY
#define GET_REF 0
#define GET_SAFE 0
#else /* in one step; what the library counts for itself is not told to the protocol */
#define GET_REF 1
#define GET_SAFE 1
#endif

#define HOLDER_REFS (PROTOCOL == SAFE_ONLY || PROTOCOL == LOCK_ONLY -> 0 : 1) /* of each holder, when it has done all */

/* ---- what is asked about counts ---- */

#define PIN_BIAS 16 /* the kernel's 1024: more references than there are holders */

#if PROTOCOL == PIN_CHECK_PROTOCOL
#define EXPECTED(x) (frame[x].refs < PIN_BIAS)
#elif PROTOCOL == BOTH_COUNTERS || PROTOCOL == TIMED_WAIT || PROTOCOL == ATOMIC_PAIR
#define EXPECTED(x) (frame[x].refs == frame[x].safes + 1)
#elif PROTOCOL == LAST_PUT /* else it could not be frozen */
#define EXPECTED(x) (frame[x].refs == 1 && frame[x].cached && frame[x].safes == 0)
#else
#define EXPECTED(x) (frame[x].refs == 1)
#endif

#ifdef TWIN_ALLOWS_ONE_MORE
#define MAY_TURN_INACCESSIBLE(x) (frame[x].refs <= frame[x].safes + 2)
#else
#define MAY_TURN_INACCESSIBLE(x) (!frame[x].frozen && EXPECTED(x))
#endif

#if (PROTOCOL == BOTH_COUNTERS || PROTOCOL == SAFE_ONLY) && !defined(TWIN_PUNCHES_UNDER_SAFE)
#define MAY_PUNCH(x) (frame[x].safes == 0)
#else
#define MAY_PUNCH(x) true
#endif

/*
 * A conversion under invalidate-lock looks for pins first: a folio that may be pinned is refused, before its lock is waited
 * for and LRU batches are drained, and whatever the policy. -DV8 is the rule before that, which looked at the count alone.
 */
#if PROTOCOL == INVALIDATE_LOCK && !defined(V8)
#define REFUSES_OUTRIGHT(x) (frame[x].refs >= PIN_BIAS)
#endif

/* ---- traits ---- */

#define FREEZES (PROTOCOL == LAST_PUT)
#define WAITS_WITH_FOLIO_LOCK (PROTOCOL == TIMED_WAIT)
#define LOCKS_WHOLE_FILE (PROTOCOL == INVALIDATE_LOCK)

#ifndef POLICY
#if PROTOCOL == PIN_CHECK_PROTOCOL || PROTOCOL == INVALIDATE_LOCK
#define POLICY FAILS
#elif PROTOCOL == LAST_PUT
#define POLICY LATER
#else
#define POLICY WAITS_A_WHILE
#endif
#endif
