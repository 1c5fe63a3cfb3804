/*
 * The eight conversion protocols: a file of one page or two, and those who use it.
 *
 * A host that uses a page through its mapping, vCPUs that hold it as their protocol says, GUP users, walkers of frame
 * numbers, a puncher, a converter. A step is one atomic operation on one word, so the words are sequentially consistent.
 * In which order the processes run, spin tries in every way. A process that does not run is left out: gcc takes longer
 * than the search.
 *
 * protocol.pml says what the protocols do, counts.pml what a frame is. How a mapping's accesses under way are waited
 * for is the topic of inflight.pml; here an access is one step.
 */
#include "checks.pml"
#include "protocol.pml"

/* ---- how many of each ---- */
#ifndef PAGES
#define PAGES 1
#endif
#ifndef FRAMES
#define FRAMES PAGES
#endif
#ifndef HOSTS
#define HOSTS 0
#endif
#ifndef VCPUS
#define VCPUS 0
#endif
#ifndef GUPS /* each plain or pinned; with -DPINS_ONLY pinned */
#define GUPS 0
#endif
#ifdef GUPS_KEEP /* what they have taken */
#define GUPS_KEPT GUPS
#define KEPT(x) frame[x].kept
#else
#define GUPS_KEPT 0
#define KEPT(x) 0
#endif
#ifndef WALKERS
#define WALKERS 0
#endif
#ifndef PUNCHES
#define PUNCHES 0
#endif
#ifndef CONVERSIONS /* of the whole file, or the first -DRANGE pages */
#define CONVERSIONS 0
#endif
#ifndef RETURNS /* conversions to accessible */
#define RETURNS 0
#endif
/* -DBATCHED: each folio that is there at the start is in an LRU batch. */
#ifndef KEEPERS /* vCPUs that keep their page */
#define KEEPERS 0
#endif
#ifndef SELF_CONVERSIONS /* by vCPUs that hold a page: of it or, with two pages, the other one */
#define SELF_CONVERSIONS 0
#endif
#ifndef RANGE
#define RANGE PAGES
#endif
#ifdef SPREAD /* the page that the process number i of a kind uses; conversions are of pages from 0 */
#define USED (i - 1)
#else
#define USED (PAGES - 1)
#endif

/* ---- what must never happen ---- */

bool leaked;               /* a reference or entry of the host reaches the content of an inaccessible page */
bool staleEntry;           /* an entry of the host reaches a frame that is not its page's any more */
bool convertedUnderHolder; /* a page turns inaccessible, and a user on the host's side has it */
bool putTwice, freedTwice, freedUnderHolder, freedInPlace, inTwoPlaces, countsWrong;
bool changedByRefusal;     /* a conversion that is refused leaves more than the host's entries changed */
bool pendingForEver;       /* a conversion is pending at the end */
/* Not wrong, but a price; looked for one by one: */
bool falseAlarm;           /* -DNO_FALSE_ALARM: a folio is refused, and no user on the host's side has it */
bool waitedInVain;         /* -DNO_FALSE_ALARM: a conversion's time is up, and no user on the host's side has the folio */
bool orphaned;             /* -DNO_ORPHAN: a guest-side holder has a frame that has been punched out of its page */
bool punchRefused;         /* -DNO_REFUSED_PUNCH */
bool waitedElsewhere;      /* -DNO_WAIT_ELSEWHERE: a page is busy that is not to be converted */
bool drainedForPin;        /* -DNO_DRAIN_FOR_PIN: a batch is drained for a folio that is pinned; with one GUP user */

/* ---- the words ---- */

/* A page's slot in the page cache: one word. */
typedef Slot {
  byte frame; /* NONE is a hole */
  bool inaccessible;
  bool busy;
  bool neither
}
Slot slot[PAGES];

/* An entry of the host's mapping: one word. Accesses may use it if it has a frame and is not pending. */
typedef Pte {
  byte frame;
  bool pending
}
Pte pte[PAGES];

/* The pending conversion, if there is one; of the whole range. */
mtype = { NO, PENDING, TRIED, OVER };
mtype later = NO;
byte watched;

bool converting; /* not in the code: a conversion has begun, and not come to its end */

#define MAPPED(p) (pte[p].frame != NONE && !pte[p].pending)
#define CLOSED(p) (slot[p].busy || slot[p].neither)
#if PAGES == 1
#define IN_PLACE(x) (slot[0].frame == x || pte[0].frame == x)
#define PLACES(x) (slot[0].frame == x)
#define MAPS(x) (pte[0].frame == x)
#else
#define IN_PLACE(x) (slot[0].frame == x || slot[1].frame == x || pte[0].frame == x || pte[1].frame == x)
#define PLACES(x) ((slot[0].frame == x) + (slot[1].frame == x))
#define MAPS(x) (pte[0].frame == x || pte[1].frame == x)
#endif

#include "counts.pml"

/* ---- lookups ---- */

/* Fills a hole with a free frame, if there is one. Sets x to NONE if there is no memory. */
inline fill(p, x) {
  d_step {
    x = 1;
    do
    :: x <= FRAMES && !frame[x].free -> x++
    :: else -> break
    od;
    x = (x > FRAMES -> NONE : x);
    if
    :: x != NONE ->
#ifndef TWIN_STAYS_ON_THE_FREE_LIST
       frame[x].free = false;
#endif
       printf("step %d allocates frame %d\n", _pid, x)
    :: else
    fi
  };
  if
  :: x != NONE ->
     d_step {
#ifdef TWIN_THAW_STORES
       frame[x].refs = 1;
#else
       frame[x].refs++;
#endif
       frame[x].cached = true;
       frame[x].frozen = false;
       printf("step %d thaws frame %d\n", _pid, x)
     };
     d_step {
       got = (slot[p].frame == NONE && !CLOSED(p) && slot[p].inaccessible == attribute);
#ifdef TWIN_FILLS_ANYWAY
       got = true;
#endif
       if
       :: got -> slot[p].frame = x; printf("step %d fills page %d with frame %d\n", _pid, p, x)
       :: else
       fi;
       CHECK_NOT(inTwoPlaces, PLACES(x) > 1)
     };
     if
     :: !got -> putCaches(x)
     :: else
     fi
  :: else
  fi
}

/*
 * Finds the folio of a page and takes a reference on it: loads the slot, adds, loads the slot again. Waits while the page is
 * busy. Sets x to NONE if the page is not as wanted, is neither side's, or there is no memory. The reference is one by
 * which a user on the host's side may reach the content, if user is true.
 */
inline lookup(p, x, r, s, host, user) {
  got = false;
  do
  :: got -> break
  :: else ->
     d_step {
       x = slot[p].frame;
       attribute = slot[p].inaccessible;
       busy = slot[p].busy;
       fit = !CLOSED(p) && !(host && attribute);
       printf("step %d loads slot %d: frame %d inaccessible=%d busy=%d\n", _pid, p, x, attribute, busy)
     };
     if
     :: fit && x != NONE ->
        if
        :: (r == 0 && s == 0) -> got = true /* goes on to lock the folio, and then looks again */
        :: else ->
           if
           :: (r == 0) -> tryGetAfterLook(x, r, s, frame[x].cached)
           :: (r == PIN_BIAS) -> tryGetAfterLook(x, r, s, true)
           :: else -> tryGet(x, r, s)
           fi;
           if
           :: got ->
              d_step {
                got = (slot[p].frame == x && slot[p].inaccessible == attribute && !CLOSED(p));
#ifdef TWIN_NO_SECOND_LOOK
                got = true;
#endif
                frame[x].hosts = frame[x].hosts + (got && user -> 1 : 0);
                printf("step %d loads slot %d again: same=%d\n", _pid, p, got)
              };
              if
#ifdef TWIN_KEEPS_LATE_REFERENCE
              :: !got
#else
              :: !got -> takeBack(x, r, s)
#endif
              :: else
              fi
           :: else
           fi
        fi
     :: !fit && busy ->
#ifdef NO_WAIT_ELSEWHERE
        d_step { CHECK_NOT(waitedElsewhere, p >= RANGE) };
#endif
        atomic { !slot[p].busy -> printf("step %d sees page %d free\n", _pid, p) }
     :: !fit && !busy -> x = NONE; break
     :: fit && x == NONE ->
        fill(p, x);
        got = false;
        if
        :: x == NONE -> break
        :: else
        fi
     fi
  od;
  atomic { got = false; fit = false; attribute = false; busy = false }
}

#define USES_LOOKUP USES_COUNTS; bool fit, attribute, busy

/* ---- the host ---- */

#define REACHES(p, x) (slot[p].frame == x && slot[p].inaccessible)

/* An access through the mapping, with the fault that it may need. */
#if HOSTS > 0
proctype Host(byte p) {
  USES_LOOKUP;
  byte x;
  bool mine, good;
  if
  :: MAPPED(p)
  :: else ->
     lookup(p, x, 1, 0, true, false);
     if
     :: x != NONE ->
        d_step {
          mine = (pte[p].frame == NONE);
          if
          :: mine -> pte[p].frame = x; pte[p].pending = true;
             printf("step %d enters frame %d, pending\n", _pid, x)
          :: else
          fi
        };
        if
        :: !mine -> put(x, 1, 0, 0, 0)
        :: else ->
           d_step {
             good = (slot[p].frame == x && !slot[p].inaccessible && !CLOSED(p));
#ifdef TWIN_CONFIRMS_BLINDLY
             good = true;
#endif
             printf("step %d loads slot %d again: same=%d\n", _pid, p, good)
           };
           d_step {
             mine = (pte[p].frame == x && pte[p].pending);
#ifdef TWIN_REMOVES_WITHOUT_A_LOOK
             mine = true;
#endif
             if
             :: mine -> pte[p].pending = false; pte[p].frame = (good -> x : NONE);
                printf("step %d keeps its entry: %d\n", _pid, good)
             :: else
             fi
           };
           if
           :: mine && !good -> put(x, 1, 0, 0, 0)
           :: else
           fi
        fi
     :: else
     fi
  fi;
  d_step {
    if
    :: MAPPED(p) ->
       printf("step %d uses its entry: frame %d\n", _pid, pte[p].frame);
       CHECK_NOT(leaked, REACHES(p, pte[p].frame));
       CHECK_NOT(staleEntry, slot[p].frame != pte[p].frame)
    :: else
    fi;
    x = NONE; mine = false; good = false
  }
}
#endif

/* A reference through the mapping: by the entry alone, or else by a lookup. It is used, and dropped. */
#if GUPS > 0
proctype Gup(byte p) {
  USES_LOOKUP;
  byte x, unit;
  if
#ifndef PINS_ONLY
  :: unit = 1
#endif
#ifndef NO_PINS
  :: unit = PIN_BIAS
#endif
  fi;
  d_step {
    x = (MAPPED(p) -> pte[p].frame : NONE);
    printf("step %d loads its entry: frame %d\n", _pid, x)
  };
  if
  :: x != NONE ->
     if
     :: unit == 1 -> tryGet(x, 1, 0)
     :: else -> tryGetAfterLook(x, PIN_BIAS, 0, true)
     fi;
     if
     :: got ->
        d_step {
          got = (MAPPED(p) && pte[p].frame == x);
#ifdef TWIN_GUP_LOOKS_ONCE
          got = true;
#endif
          frame[x].hosts = frame[x].hosts + got;
          printf("step %d loads its entry again: same=%d\n", _pid, got)
        };
        if
        :: !got -> takeBack(x, unit, 0); x = NONE
        :: else
        fi
     :: else -> x = NONE
     fi;
     got = false
  :: else
  fi;
  if
  :: x == NONE ->
     if
     :: unit == 1 -> lookup(p, x, 1, 0, true, true)
     :: else -> lookup(p, x, PIN_BIAS, 0, true, true)
     fi
  :: else
  fi;
  if
  :: x != NONE ->
     d_step {
       printf("step %d uses its reference to frame %d\n", _pid, x);
       CHECK_NOT(leaked, REACHES(p, x))
     };
#ifdef GUPS_KEEP
     frame[x].kept = frame[x].kept + unit
#else
     put(x, unit, 0, 1, 0)
#endif
  :: else
  fi;
  d_step { x = NONE; unit = 0 }
}
#endif

/* Looks at a frame as compaction does: it never touches the content. */
#if WALKERS > 0
proctype Walker(byte x) {
  USES_COUNTS;
  tryGet(x, 1, 0);
  if
  :: got -> put(x, 1, 0, 0, 0)
  :: else
  fi;
  got = false
}
#endif

/* ---- the guest's side ---- */

#define IN_ITS_PLACE(p, x) (slot[p].frame == x && !CLOSED(p))

/* Holds the folio of a page by the steps of the protocol. Sets x to NONE if it is refused. */
inline take(p, x) {
  do
  :: lookup(p, x, GET_REF, GET_SAFE, false, false);
#if PROTOCOL == BOTH_COUNTERS
     if
     :: x != NONE -> markSafe(x)
     :: else
     fi;
     break
#elif PROTOCOL == TIMED_WAIT || PROTOCOL == LOCK_ONLY
     if
     :: x == NONE -> break
     :: else ->
        lockFolio(x);
        d_step {
          fit = IN_ITS_PLACE(p, x);
#ifdef TWIN_LOCK_IS_ENOUGH
          fit = true;
#endif
          printf("step %d loads slot %d again: same=%d\n", _pid, p, fit)
        };
        if
        :: fit ->
           markSafe(x);
#if PROTOCOL == TIMED_WAIT
           unlockFolio(x);
#endif
           fit = false;
           break
        :: else -> /* all is given back, and it starts over */
           unlockFolio(x);
#if PROTOCOL == TIMED_WAIT
           takeBack(x, 1, 0)
#endif
        fi
     fi
#else
     break
#endif
  od;
  atomic {
    if
    :: x != NONE ->
       frame[x].guests++;
#ifdef NO_ORPHAN
       CHECK_NOT(orphaned, slot[p].frame != x);
#endif
       printf("step %d holds frame %d\n", _pid, x)
    :: else
    fi
  }
}

inline drop(x) {
#if PROTOCOL == BOTH_COUNTERS || PROTOCOL == TIMED_WAIT
#ifdef TWIN_DROPS_REF_FIRST
  put(x, 1, 0, 0, 1);
  put(x, 0, 1, 0, 0)
#else
  put(x, 0, 1, 0, 1);
  put(x, 1, 0, 0, 0)
#endif
#elif PROTOCOL == LOCK_ONLY
  put(x, 0, 1, 0, 1);
  unlockFolio(x)
#else
  put(x, GET_REF, GET_SAFE, 0, 1)
#endif
}

#if VCPUS > 0
proctype Vcpu(byte p) {
  USES_LOOKUP;
  byte held;
#ifdef FOR_EVER
  do
  ::
#endif
     take(p, held);
     if
     :: held != NONE -> drop(held); held = NONE
     :: else
     fi
#ifdef FOR_EVER
  od
#endif
}
#endif

/* A vCPU that keeps its page. */
#if KEEPERS > 0
proctype Keeper(byte p) {
  USES_LOOKUP;
  byte held;
  take(p, held);
  held = NONE
}
#endif

/* ---- operations on a range ---- */

#define USES_RANGE byte p, x; bool ok, over

#if LOCKS_WHOLE_FILE
#define LOW(first) 0
#define HIGH(end) PAGES
#else
#define LOW(first) first
#define HIGH(end) end
#endif

inline undoPending() {
#if POLICY == LATER
  d_step {
    if
    :: later == PENDING ->
       later = OVER;
       frame[watched].waited = false;
       watched = NONE;
       for (p : 0 .. RANGE - 1) { slot[p].neither = false };
       printf("step %d undoes what is pending\n", _pid)
    :: else
    fi;
    p = 0
  }
#else
  skip
#endif
}

inline lockRange(first, end) {
#ifndef TWIN_NOT_BUSY
  p = LOW(first);
  do
  :: p < HIGH(end) ->
     atomic { !slot[p].busy -> slot[p].busy = true; printf("step %d makes page %d busy\n", _pid, p); p++ }
  :: else -> break
  od;
#endif
  undoPending()
}

inline unlockRange(first, end) {
#ifndef TWIN_NOT_BUSY
  p = LOW(first);
  do
  :: d_step { p < HIGH(end) -> slot[p].busy = false; printf("step %d frees page %d\n", _pid, p); p++ }
  :: else -> break
  od;
#endif
  p = 0
}

inline unmap() {
  d_step {
    x = pte[p].frame;
    pte[p].frame = NONE;
    pte[p].pending = false;
    if
    :: x != NONE -> printf("step %d unmaps page %d\n", _pid, p)
    :: else
    fi
  };
  if
  :: x != NONE -> put(x, 1, 0, 0, 0); x = NONE
  :: else
  fi
}

/* A look at the counts; a protocol that freezes does so in the same step. Sets ok. */
inline look(condition, freezing) {
  d_step {
    ok = condition;
    frame[x].frozen = frame[x].frozen || (ok && freezing);
    printf("step %d looks at frame %d: %d+%d fit=%d\n", _pid, x, frame[x].refs, frame[x].safes, ok);
#ifdef NO_FALSE_ALARM
    CHECK_NOT(falseAlarm, !ok && POLICY == FAILS && frame[x].hosts == 0 && !MAPS(x) && !IN_BATCH(x));
#endif
    got = false
  }
}

#if POLICY == WAITS_A_WHILE
#define TIME_IS_UP true
#elif POLICY == WAITS_IN_VAIN
#define TIME_IS_UP timeout
#else
#define TIME_IS_UP false
#endif

/* Waits for the counts, woken by every put and every markSafe. Sets over when its time is up. */
inline awaitCounts(condition) {
#ifdef TWIN_LOOKS_BEFORE_IT_IS_WAITED_FOR
  if
  :: condition
  :: else ->
     frame[x].waited = true;
     waiter[x].queued = true;
     waiter[x].permit;
     waiter[x].permit = false
  fi;
#else
  d_step { frame[x].waited = true; printf("step %d waits for frame %d\n", _pid, x) };
  if
  :: condition
  :: else ->
     waiter[x].queued = true;
     do
     :: condition -> break
     :: else ->
        if
        :: waiter[x].permit -> waiter[x].permit = false
        :: TIME_IS_UP ->
           d_step {
             over = true;
             printf("step %d has waited its time\n", _pid);
#ifdef NO_FALSE_ALARM
             CHECK_NOT(waitedInVain, POLICY == WAITS_IN_VAIN && frame[x].hosts == 0 && !MAPS(x))
#endif
           };
           break
        fi
     od
  fi;
#endif
  atomic { waiter[x].queued = false; waiter[x].permit = false };
  frame[x].waited = false
}

/* Asks the protocol about the folio of page p, with its lock free or, if the protocol waits with it, held. Sets ok. */
inline awaitExpected(condition, locking, freezing) {
  x = slot[p].frame; /* its owner alone changes it */
  if
  :: locking -> lockFolio(x)
  :: else -> awaitUnlocked(x)
  fi;
  look(condition, freezing);
#ifdef BATCHED
  if
  :: ok
  :: else ->
     drain(x);
#ifdef TWIN_NO_LOOK_AFTER_DRAIN
     ok = true
#else
     look(condition, freezing)
#endif
  fi;
#endif
#if POLICY == WAITS || POLICY == WAITS_A_WHILE || POLICY == WAITS_IN_VAIN
  do
  :: ok || over -> break
  :: else -> awaitCounts(condition); look(condition, freezing)
  od;
  over = false;
#endif
  if
  :: locking -> unlockFolio(x)
  :: else
  fi
}

/* To inaccessible: all or nothing. The pages are busy. Sets ok. */
inline convertLocked(first, end) {
  p = first;
  do
  :: p < end && slot[p].inaccessible -> p++
  :: p < end && !slot[p].inaccessible -> unmap(); p++
  :: else -> break
  od;
  p = first;
  ok = true;
  do
  :: p < end && ok && (slot[p].inaccessible || slot[p].frame == NONE) -> p++
  :: p < end && ok && !(slot[p].inaccessible || slot[p].frame == NONE) ->
#ifdef REFUSES_OUTRIGHT
     d_step {
       x = slot[p].frame;
       over = REFUSES_OUTRIGHT(x);
#ifdef NO_FALSE_ALARM
       CHECK_NOT(falseAlarm, over && POLICY == FAILS && frame[x].hosts == 0 && !MAPS(x));
#endif
       printf("step %d looks for pins of frame %d: %d\n", _pid, x, over)
     };
     if
     :: over -> d_step { ok = false; over = false }
     :: else -> awaitExpected(MAY_TURN_INACCESSIBLE(x), WAITS_WITH_FOLIO_LOCK, FREEZES)
     fi;
#else
     awaitExpected(MAY_TURN_INACCESSIBLE(x), WAITS_WITH_FOLIO_LOCK, FREEZES);
#endif
#ifdef TWIN_COMMITS_EACH
     if
     :: ok -> slot[p].inaccessible = true
     :: else
     fi;
#endif
     p++
  :: else -> break
  od;
  if
  :: ok ->
     p = first;
     do
     :: d_step {
          p < end ->
          x = slot[p].frame;
#ifndef SHOW_LEAK
          CHECK_NOT(convertedUnderHolder, x != NONE && (frame[x].hosts > 0 || MAPPED(p)));
#endif
          slot[p].inaccessible = true;
          slot[p].neither = false;
          printf("step %d turns page %d inaccessible\n", _pid, p);
          p++
        }
     :: else -> break
     od
  :: else
  fi;
#if FREEZES && !defined(TWIN_STAYS_FROZEN)
  p = first;
  do
  :: p < end ->
     d_step {
       x = slot[p].frame;
       if
       :: x != NONE && frame[x].frozen -> frame[x].frozen = false; printf("step %d unfreezes frame %d\n", _pid, x)
       :: else
       fi;
       p++
     }
  :: else -> break
  od;
#endif
  atomic { x = NONE; p = 0 }
}

/* What is refused leaves the attributes as they were, and no folio frozen or locked. */
inline checkRefusal(first, end) {
  d_step {
    for (p : first .. end - 1) {
      CHECK_NOT(changedByRefusal, slot[p].inaccessible != was[p]);
      CHECK_NOT(changedByRefusal, FREEZES && slot[p].frame != NONE && frame[slot[p].frame].frozen)
    };
    p = 0
  }
}

inline remember(first, end) {
  d_step {
    for (p : first .. end - 1) { was[p] = slot[p].inaccessible };
    p = 0
  }
}

/* Leaves the conversion pending: marks its pages, and watches the folio that is in the way. Its pages are busy. */
inline leavePending(first, end) {
  d_step {
    p = first;
    do
    :: p < end && (slot[p].frame == NONE || slot[p].inaccessible || MAY_TURN_INACCESSIBLE(slot[p].frame)) -> p++
    :: else -> break
    od;
    watched = (p < end -> slot[p].frame : slot[first].frame); /* the first that is in the way; it may be free by now */
    for (p : first .. end - 1) { slot[p].neither = !slot[p].inaccessible };
    p = 0;
    printf("step %d leaves it pending\n", _pid)
  };
#ifdef TWIN_WATCHES_LATE
  later = PENDING;
  ok = (watched != NONE && MAY_TURN_INACCESSIBLE(watched));
  frame[watched].waited = true;
#else
  d_step { frame[watched].waited = true; printf("step %d watches frame %d\n", _pid, watched) };
  later = PENDING;
  ok = (watched != NONE && MAY_TURN_INACCESSIBLE(watched));
#endif
  if
  :: ok -> toTry = true
  :: else
  fi;
  ok = false
}

inline convert(first, end) {
  lockRange(first, end);
  remember(first, end);
  convertLocked(first, end);
  if
  :: !ok ->
     checkRefusal(first, end);
#if POLICY == LATER
     leavePending(first, end);
#endif
  :: else
  fi;
  unlockRange(first, end);
  d_step {
    ok = false;
    for (p : first .. end - 1) { was[p] = false };
    p = 0
  }
}

#if CONVERSIONS > 0
proctype Converter() {
  USES_COUNTS;
  USES_RANGE;
  bool was[PAGES];
  converting = true;
  convert(0, RANGE);
#if POLICY == LATER
  atomic { later != PENDING && later != TRIED -> converting = false }
#else
  converting = false
#endif
}
#endif

/* A vCPU that converts a page while it holds it or, with two pages, the other one. */
#if SELF_CONVERSIONS > 0
proctype SelfConverter(byte page) {
  USES_LOOKUP;
  USES_RANGE;
  bool was[PAGES];
  byte held;
  take(page, held);
  page = PAGES - 1 - page;
  convert(page, page + 1);
  if
  :: held != NONE -> drop(held); held = NONE
  :: else
  fi;
  page = 0
}
#endif

/* Tries the pending conversion: the thread that let go of the last reference, or the executor. It never waits. */
#if POLICY == LATER
proctype Completer() {
  USES_COUNTS;
  USES_RANGE;
  do
  :: atomic { toTry -> toTry = false };
     if
     :: later == PENDING ->
        p = 0;
        do /* what is busy is tried again a little later */
        :: d_step { p < RANGE && !slot[p].busy -> slot[p].busy = true; printf("step %d makes page %d busy\n", _pid, p); p++ }
        :: p < RANGE && slot[p].busy ->
           do
           :: d_step { p > 0 -> p--; slot[p].busy = false }
           :: else -> break
           od;
           toTry = true;
           over = true;
           break
        :: p == RANGE -> break
        od;
        p = 0;
        if
        :: over -> over = false
        :: else ->
           d_step {
             ok = (later == PENDING);
             if
             :: ok -> later = TRIED; frame[watched].waited = false; watched = NONE
             :: else
             fi
           };
           if
           :: ok ->
              convertLocked(0, RANGE);
              if
              :: ok ->
                 d_step {
                   for (p : 0 .. RANGE - 1) { slot[p].neither = false };
                   p = 0;
                   later = OVER
                 }
              :: else -> leavePending(0, RANGE)
              fi
           :: else
           fi;
           unlockRange(0, RANGE);
           ok = false
        fi
     :: else
     fi
  :: _nr_pr == 2 && !toTry -> break
  od
}
#endif

#if RETURNS > 0
proctype Return() {
  USES_RANGE;
  lockRange(0, RANGE);
  p = 0;
  do
  :: p < RANGE && slot[p].inaccessible ->
     if
     :: slot[p].frame != NONE -> awaitUnlocked(slot[p].frame)
     :: else
     fi;
     d_step { slot[p].inaccessible = false; printf("step %d turns page %d accessible\n", _pid, p); p++ }
  :: p < RANGE && !slot[p].inaccessible -> p++
  :: else -> break
  od;
  unlockRange(0, RANGE);
  d_step { x = NONE; ok = false; over = false }
}
#endif

#if PUNCHES > 0
proctype Puncher(byte page) {
  USES_COUNTS;
  USES_RANGE;
  lockRange(page, page + 1);
  p = page;
  if
  :: slot[p].frame != NONE ->
     awaitExpected(MAY_PUNCH(x), false, false);
     if
     :: ok ->
        unmap();
        d_step {
          x = slot[p].frame;
#ifdef NO_ORPHAN
          CHECK_NOT(orphaned, frame[x].guests > 0);
#endif
          slot[p].frame = NONE;
          printf("step %d takes frame %d out of page %d\n", _pid, x, p)
        };
        putCaches(x)
     :: else ->
#ifdef NO_REFUSED_PUNCH
        d_step { CHECK_NOT(punchRefused, true) }
#else
        skip
#endif
     fi
  :: else
  fi;
  unlockRange(page, page + 1);
  d_step { x = NONE; ok = false; page = 0 }
}
#endif

/* ---- the run, and what it leaves behind ---- */

init {
  byte i, x, who;
  atomic {
    for (i : 1 .. FRAMES) {
      frame[i].frozen = true;
      frame[i].free = true
    }
#ifndef STARTS_EMPTY
    for (i : 0 .. PAGES - 1) {
      slot[i].frame = i + 1;
      frame[i + 1].frozen = false;
      frame[i + 1].free = false;
      frame[i + 1].cached = true;
      frame[i + 1].refs = 1;
#ifdef STARTS_MAPPED
      pte[i].frame = i + 1;
      frame[i + 1].refs = 2;
#endif
#ifdef STARTS_INACCESSIBLE
      slot[i].inaccessible = true;
#endif
#ifdef BATCHED
      frame[i + 1].batched = true;
      frame[i + 1].refs++;
#endif
    }
#endif
#if POLICY == LATER
    who = run Completer(); printf("name %d last put\n", who); /* first, for a process goes only after those it is older than */
#endif
#if VCPUS > 0
    START(VCPUS, who = run Vcpu(USED); printf("name %d vCPU\n", who));
#endif
#if KEEPERS > 0
    START(KEEPERS, who = run Keeper(USED); printf("name %d vCPU that keeps\n", who));
#endif
#if SELF_CONVERSIONS > 0
    START(SELF_CONVERSIONS, who = run SelfConverter(USED); printf("name %d vCPU that converts\n", who));
#endif
#if HOSTS > 0
    START(HOSTS, who = run Host(USED); printf("name %d host\n", who));
#endif
#if GUPS > 0
    START(GUPS, who = run Gup(USED); printf("name %d GUP\n", who));
#endif
#if WALKERS > 0
    START(WALKERS, who = run Walker(i); printf("name %d PFN walker\n", who));
#endif
#if PUNCHES > 0
    START(PUNCHES, who = run Puncher(USED); printf("name %d puncher\n", who));
#endif
#if CONVERSIONS > 0
    START(CONVERSIONS, who = run Converter(); printf("name %d converter\n", who));
#endif
#if RETURNS > 0
    START(RETURNS, who = run Return(); printf("name %d converter back\n", who));
#endif
    i = 0; who = 0
  }
#ifdef FOR_EVER
  false
#endif
  _nr_pr == 1; /* all have ended; if they never do, spin finds an invalid end state */
  atomic {
    CHECK_NOT(pendingForEver, later == PENDING || later == TRIED);
    for (i : 1 .. FRAMES) {
      x = PLACES(i);
      CHECK_NOT(countsWrong, frame[i].hosts > GUPS_KEPT || frame[i].guests > KEEPERS || frame[i].safes != frame[i].guests);
      CHECK_NOT(countsWrong, frame[i].refs != x + MAPS(i) + HOLDER_REFS * frame[i].guests + IN_BATCH(i) + KEPT(i) || frame[i].cached != (x == 1));
      CHECK_NOT(countsWrong, frame[i].free != (frame[i].refs + frame[i].safes == 0) || frame[i].frozen != frame[i].free);
      CHECK_NOT(countsWrong, frame[i].waited || frame[i].locked != (PROTOCOL == LOCK_ONLY && frame[i].guests > 0))
    }
    for (i : 0 .. PAGES - 1) {
      CHECK_NOT(countsWrong, CLOSED(i) || pte[i].pending)
    }
  }
}

#ifdef FOR_EVER
ltl ends { [] (converting -> <> !converting) }
#endif
