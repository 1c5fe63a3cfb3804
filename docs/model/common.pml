/*
 * What the models share: a file of one page, two frames for it, who counts as a holder, and what must never happen.
 *
 * A step is one atomic operation on one word (or what is done under one lock), so the words are sequentially consistent, as
 * volatile accesses and read-modify-writes are. Every process runs once; how many there are of each kind, and how many
 * interrupts may come, is chosen by -D. In which order they run, and where each is interrupted, spin tries in every way.
 */

#include "checks.pml"

#define FRAMES 2

/* ---- how many of each; what a process does is said where it stands ---- */
#ifndef MAPPINGS
#define MAPPINGS 1
#endif
#ifndef ACCESSES
#define ACCESSES 0
#endif
#ifndef FAULTS
#define FAULTS 0
#endif
#ifndef VCPUS
#define VCPUS 0
#endif
#ifndef VCPU_FAULTS
#define VCPU_FAULTS 0
#endif
#ifndef PUNCHES
#define PUNCHES 0
#endif
#ifndef TO_PRIVATE
#define TO_PRIVATE 0
#endif
#ifndef TO_SHARED
#define TO_SHARED 0
#endif
#ifndef FAILURES
#define FAILURES 0
#endif
#ifndef DONTNEEDS
#define DONTNEEDS 0
#endif
#ifndef MUNMAPS
#define MUNMAPS 0
#endif
#ifndef UNBINDS
#define UNBINDS 0
#endif
#ifndef INTERRUPTS
#define INTERRUPTS 0
#endif

/* ---- frames ---- */

typedef Frame {
  byte plain;    /* references that a conversion waits for: the page cache's, those of entries of the host and of its faults */
  byte safe;     /* references of the guest's side */
  byte accesses; /* not in the code: how many accesses have been let in, and may be moving its bytes at this moment */
  byte pinned    /* not in the code: how many references by GUP-fast are held */
}
Frame frame[FRAMES + 1]; /* frame 0 is none; one with no reference is free */

/* ---- the page's slot in the page cache: one word ---- */

byte cached;       /* the frame at the page; NONE is a hole */
bool inaccessible;
bool failed;       /* memory failure has been there: no lookup finds the page */
bool busy;         /* an operation on the range is under way */

byte interrupts = INTERRUPTS; /* how many may yet come */

/* ---- what must never happen ---- */

bool freedUnderAccess, convertedUnderAccess, punchedUnderAccess, failedUnderAccess, unmappedUnderAccess, convertedUnderReference;
bool enteredWrongPage, readWrongPage, putTwice, freedInCache, referencesLost, entryLeft, revivedWrongPage;
byte through[MAPPINGS]; /* not in the code: how many accesses through a mapping have been let in */

#define ACCESSED(pfn) (frame[pfn].accesses > 0)

/* ---- accesses: within the step in which they are let in, and after their last byte ---- */

inline enterHost(m, pfn) {
  CHECK_NOT(enteredWrongPage, cached != pfn || inaccessible || failed);
  frame[pfn].accesses++;
  through[m]++
}

inline leaveHost(m, pfn) {
  d_step {
    frame[pfn].accesses--;
    through[m]--
  }
}

inline enterGuest(pfn, asShared) {
  CHECK_NOT(enteredWrongPage, cached != pfn || inaccessible == asShared);
  frame[pfn].accesses++
}

inline leaveGuest(pfn) {
  frame[pfn].accesses--
}

/* ---- references ---- */

inline freeIfUnused(pfn) {
  if
  :: frame[pfn].plain == 0 && frame[pfn].safe == 0 ->
     CHECK_NOT(freedUnderAccess, ACCESSED(pfn));
     CHECK_NOT(freedInCache, cached == pfn)
  :: else
  fi
}

inline putPlain(pfn) {
  d_step {
    CHECK_NOT(putTwice, frame[pfn].plain == 0);
    frame[pfn].plain--;
    freeIfUnused(pfn)
  }
}

inline putSafe(pfn) {
  d_step {
    CHECK_NOT(putTwice, frame[pfn].safe == 0);
    frame[pfn].safe--;
    freeIfUnused(pfn)
  }
}

/* Fills a hole with a frame that is free, if there is one: any of them. Within an atomic sequence. */
inline fill() {
  if
  :: cached != NONE
  :: cached == NONE && frame[1].plain + frame[1].safe == 0 -> cached = 1; frame[1].plain = 1
  :: cached == NONE && frame[2].plain + frame[2].safe == 0 -> cached = 2; frame[2].plain = 1
  :: else /* no memory */
  fi
}

/*
 * A lookup that succeeds: it saw the slot, took its reference, and saw the same slot once more, so all is as if done at once.
 * It waits while the page is busy. The frame is NONE if it is refused.
 */
inline lookupHost(pfn) {
  atomic {
    !busy -> fill();
    if
    :: cached != NONE && !inaccessible && !failed -> pfn = cached; frame[pfn].plain++
    :: else -> pfn = NONE
    fi
  }
}

inline lookupGuest(pfn) {
  atomic {
    !busy -> fill();
    if
    :: cached != NONE && !failed -> pfn = cached; frame[pfn].safe++
    :: else -> pfn = NONE
    fi
  }
}

/* ---- operations on the range ---- */

inline lockRange() {
  atomic { !busy -> busy = true }
}

inline unlockRange() {
  busy = false
}

/* atomic-pair, the default protocol: but for the page cache's, every reference is a safe one. pin-check looks for pins only. */
#ifdef PIN_CHECK
#define MAY_TURN_INACCESSIBLE true
#else
#define MAY_TURN_INACCESSIBLE (cached == NONE || frame[cached].plain == 1)
#endif

inline setAttribute(toPrivate) {
  d_step {
    CHECK_NOT(convertedUnderAccess, cached != NONE && ACCESSED(cached));
#ifndef PIN_CHECK
    CHECK_NOT(convertedUnderReference, toPrivate && cached != NONE && frame[cached].pinned > 0);
#endif
    inaccessible = toPrivate
  }
}

/* Takes the folio out of the page cache. */
inline removeFolio(pfn) {
  d_step {
    CHECK_NOT(punchedUnderAccess, cached != NONE && ACCESSED(cached));
    pfn = cached;
    cached = NONE;
    failed = false
  }
  if
  :: pfn != NONE -> putPlain(pfn); pfn = NONE
  :: else
  fi
}

inline setFailed() {
  d_step {
    CHECK_NOT(failedUnderAccess, cached != NONE && ACCESSED(cached));
    failed = cached != NONE
  }
}
