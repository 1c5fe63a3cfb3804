/*
 * How it was before: accesses are counted in the entry that they go by, and waited for by the thread that has removed it.
 *
 * An entry that has been removed, and an access through it that is still under way, are two facts; only that thread knows of
 * the second. spin finds what comes of it.
 */
#include "common.pml"

/* An entry of a mapping's page table: one word. Accesses may use it if it has a frame and is not pending. */
typedef Pte {
  byte frame;
  bool pending;
  byte version;
  byte inflight /* outlives the removal of the entry; the remover waits for it */
}
Pte pte[MAPPINGS];
bool closed[MAPPINGS];

/* Entries of the guest's page table are objects, of which the table has one; who has zapped one waits for its accesses. */
typedef Tdp {
  byte frame;
  bool shared;
  bool kept;   /* holds a safe reference */
  bool zapped; /* the rest is one word: */
  bool owed;   /* the last access gives the reference back */
  byte inflight
}
#define ENTRIES (VCPUS + 1)
Tdp tdp[ENTRIES + 1];
byte entries; /* how many there have been */
byte current; /* the one in the table, or NONE */

#ifdef KEEP
#define KEPT true
#else
#define KEPT false
#endif

/* Under mmu_lock, as is an atomic sequence that uses them. */
byte invalidateSeq;
byte inProgress;
bool gone; /* the memslot has been deleted */

/* ---- the host's entries ---- */

inline remove(m, gone_to) {
  d_step {
    gone_to = pte[m].frame;
    if
    :: gone_to != NONE -> pte[m].frame = NONE; pte[m].pending = false; pte[m].version++
    :: else
    fi
  }
}

#define UNUSED(m) (pte[m].inflight == 0)

inline zapUninterruptibly(m) {
  remove(m, got);
  if
  :: got == NONE
  :: got != NONE && UNUSED(m)
  fi
}

/* Leaves in got the frame whose reference is to be dropped. Sets stopped if an interrupt comes. */
inline zap(m) {
  remove(m, got);
  if
  :: got == NONE
  :: got != NONE && UNUSED(m)
  :: d_step { got != NONE && !UNUSED(m) && interrupts > 0 -> interrupts-- };
     stopped = true;
     d_step {
       if
       :: pte[m].frame == NONE -> pte[m].frame = got; pte[m].pending = true; back = true
       :: else
       fi
     };
     if
     :: back ->
        got = NONE;
        back = false;
        if
        :: closed[m] -> zapUninterruptibly(m)
        :: else
        fi
     :: !back && UNUSED(m) /* a late fault has entered the page */
     fi
  fi
}

inline drop() {
  if
  :: got != NONE -> putPlain(got); got = NONE
  :: else
  fi
}

#define ALL_MAPPINGS 255

inline unmap(which) {
  for (k : 0 .. MAPPINGS - 1) {
    if
    :: !stopped && (which == ALL_MAPPINGS || which == k) -> zap(k); drop()
    :: else
    fi
  };
  k = 0
}

#define GOOD(pfn) (!busy && cached == pfn && !inaccessible && !failed)

/* A fault takes its reference, enters it, and settles whatever is pending then, its own or another's. */
inline fault(m) {
  lookupHost(f);
  if
  :: f != NONE ->
     d_step {
       if
       :: pte[m].frame == NONE -> pte[m].frame = f; pte[m].pending = true; f = NONE
       :: else
       fi
     };
     if
     :: f != NONE -> putPlain(f)
     :: else
     fi;
     d_step { f = pte[m].frame; version = pte[m].version; pending = pte[m].pending };
     if
     :: pending ->
        good = GOOD(f);
        good = good && !closed[m];
        d_step {
          if
          :: pte[m].frame == f && pte[m].pending && pte[m].version == version ->
             if
             :: good -> pte[m].pending = false
             :: else -> got = f; pte[m].frame = NONE; pte[m].pending = false; pte[m].version++
             fi
          :: else
          fi
        };
        drop()
     :: else
     fi
  :: else
  fi;
  atomic { f = NONE; version = 0; pending = false; good = false }
}

#define MAPPED(m) (pte[m].frame != NONE && !pte[m].pending)

/* An access through a mapping, which faults once if the page is not mapped. */
proctype Access(byte me; byte m) {
  byte f, got, version;
  bool pending, good, faulted;
  do
  :: MAPPED(m) ->
     d_step {
       pte[m].inflight++;
       if
       :: MAPPED(m) -> f = pte[m].frame; enterHost(m, f)
       :: else
       fi
     };
     if
     :: f != NONE -> leaveHost(m, f); pte[m].inflight--; break
     :: else -> pte[m].inflight--
     fi
  :: !MAPPED(m) && !faulted && !closed[m] -> faulted = true; fault(m)
  :: !MAPPED(m) && (faulted || closed[m]) -> break
  od;
  f = NONE
}

/* A fault alone: of a read that announces nothing, say, or of an access that is refused after it. */
proctype Fault(byte m) {
  byte f, got, version;
  bool pending, good;
  fault(m)
}

/* ---- the guest's entries ---- */

/* The reference of a zapped entry goes back when there is no access left: one thread finds that. */
inline settle(e) {
  d_step {
    if
    :: tdp[e].owed && tdp[e].inflight == 0 -> tdp[e].owed = false; got = tdp[e].frame
    :: else
    fi
  };
  if
  :: got != NONE -> putSafe(got); got = NONE
  :: else
  fi
}

inline endAccess(e) {
  tdp[e].inflight--;
  settle(e)
}

/* Takes the entry out of the table, and marks it; within an atomic sequence. */
inline take() {
  zapped = current;
  if
  :: zapped != NONE -> tdp[zapped].zapped = true; current = NONE
  :: else
  fi
}

inline release() {
  if
  :: zapped != NONE ->
     if
     :: tdp[zapped].kept -> tdp[zapped].owed = true; settle(zapped)
     :: else
     fi;
     zapped = NONE
  :: else
  fi
}

inline invalidateEnd() {
  d_step { invalidateSeq++; inProgress-- }
}

/* Sets stopped, and has ended, if it is interrupted. */
inline invalidateBegin() {
  d_step { inProgress++; take() };
  if
  :: zapped == NONE
  :: zapped != NONE && tdp[zapped].inflight == 0
  :: d_step { zapped != NONE && tdp[zapped].inflight > 0 && interrupts > 0 -> interrupts-- }; stopped = true
  fi;
  release();
  if
  :: stopped -> invalidateEnd()
  :: else
  fi
}

/* An access of a vCPU to the page as it is mapped, with either view of it; it faults once if it is not mapped. */
proctype Vcpu(byte me) {
  byte f, e, seq, got;
  bool shared, kept, faulted;
  do
  :: d_step { current != NONE -> e = current };
     d_step {
       tdp[e].inflight++;
       if
       :: !tdp[e].zapped -> f = tdp[e].frame; enterGuest(f, tdp[e].shared)
       :: else
       fi
     };
     if
     :: f != NONE -> leaveGuest(f); endAccess(e); break
     :: else -> endAccess(e)
     fi
  :: current == NONE && !faulted && !gone ->
     faulted = true;
     if :: shared = true :: shared = false fi;
     seq = invalidateSeq;
     if
     :: inaccessible == shared /* of the other view */
     :: inaccessible != shared ->
        lookupGuest(f);
        if
        :: f != NONE ->
           d_step { /* under mmu_lock */
             if
             :: gone || inProgress > 0 || invalidateSeq != seq /* to be done again */
             :: else ->
                if
                :: current == NONE ->
                   entries++;
                   current = entries;
                   tdp[current].frame = f;
                   tdp[current].shared = shared;
                   tdp[current].kept = KEPT;
                   kept = KEPT
                :: else /* another vCPU was faster */
                fi
             fi
           };
           if
           :: !kept -> putSafe(f)
           :: else
           fi
        :: else
        fi
     fi;
     atomic { f = NONE; kept = false }
  :: current == NONE && (faulted || gone) -> break
  od;
  atomic { f = NONE; e = NONE; seq = 0; shared = false; faulted = false }
}

/* Deletes the memslot. */
proctype Unbind() {
  byte zapped, got;
  d_step { gone = true; take() };
  if
  :: zapped == NONE
  :: zapped != NONE && tdp[zapped].inflight == 0
  fi;
  release()
}

/* ---- operations; each may give up when it is interrupted, munmap excepted ---- */

inline convert(toPrivate) {
  lockRange();
  if
  :: inaccessible == toPrivate
  :: else ->
     if
     :: toPrivate -> unmap(ALL_MAPPINGS)
     :: else
     fi;
     if
     :: !stopped && (!toPrivate || MAY_TURN_INACCESSIBLE) ->
        invalidateBegin();
        if
        :: !stopped -> setAttribute(toPrivate); invalidateEnd()
        :: else
        fi
     :: else
     fi
  fi;
  unlockRange()
}

proctype ToPrivate() {
  byte k, got, zapped;
  bool stopped, back;
  convert(true)
}

proctype ToShared() {
  byte k, got, zapped;
  bool stopped, back;
  convert(false)
}

proctype Punch() {
  byte k, got, zapped;
  bool stopped, back;
  lockRange();
  invalidateBegin();
  if
  :: !stopped ->
     unmap(ALL_MAPPINGS);
     if
     :: !stopped -> removeFolio(got)
     :: else
     fi;
     invalidateEnd()
  :: else
  fi;
  unlockRange()
}

proctype DontNeed(byte m) {
  byte k, got;
  bool stopped, back;
  lockRange();
  unmap(m);
  unlockRange()
}

/* Goes on where the guest's side refuses. */
proctype Failure() {
  byte k, got, zapped;
  bool stopped, back, begun;
  lockRange();
  invalidateBegin();
  begun = !stopped;
  stopped = false;
  unmap(ALL_MAPPINGS);
  if
  :: !stopped -> setFailed()
  :: else
  fi;
  if
  :: begun -> invalidateEnd()
  :: else
  fi;
  unlockRange()
}

proctype Munmap(byte m) {
  byte got;
  closed[m] = true;
  zapUninterruptibly(m);
  drop();
  CHECK_NOT(unmappedUnderAccess, through[m] > 0)
}

/* ---- for run.pml ---- */

inline enterGuestMapping() {
  entries = 1;
  current = 1;
  tdp[1].frame = 1;
  tdp[1].shared = true;
  tdp[1].kept = KEPT
}

#define GUEST_FRAME (current == NONE -> NONE : tdp[current].frame)

#include "run.pml"
