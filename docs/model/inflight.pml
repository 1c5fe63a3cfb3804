/*
 * Accesses that are announced for a frame, in a slot of their thread, by the host and the guest alike.
 *
 * An entry that no access may use any more stays where it is, with its reference, until the accesses have been waited for; and
 * an access stays announced until it ends. So what one thread leaves undone the next one finds.
 */
#include "common.pml"

#define THREADS (ACCESSES + VCPUS)

/* An access announced: one word. The count tells it from the next to the same frame. */
typedef Slot {
  byte frame;
  byte count
}
Slot slot[THREADS + 1];

/* An entry of a mapping's page table: one word. Accesses may use it if it has a frame and is not pending. */
typedef Pte {
  byte frame;
  bool pending;
  byte version
}
Pte pte[MAPPINGS];
bool closed[MAPPINGS];

/* The entry of the guest's page table: one word, written under mmu_lock. */
typedef Tdp {
  byte frame;
  bool shared;
  bool zapped;
  byte version
}
Tdp tdp;

#ifdef KEEP
#define KEPT true /* the guest's entry holds a safe reference */
#else
#define KEPT false
#endif

/* Under mmu_lock, as is an atomic sequence that uses them. */
byte invalidateSeq;
byte inProgress;
bool gone; /* the memslot has been deleted */

/* ---- announcing ---- */

inline announce(pfn) {
  d_step {
    slot[me].frame = pfn;
    slot[me].count++
  }
}

inline withdraw() {
  slot[me].frame = NONE
}

/* ---- waiting for the accesses to a frame that are under way: looks at every slot, and then waits for each that named it ---- */

inline look(pfn) {
  t = 1;
  do
  :: d_step { pfn != NONE && t <= THREADS -> seen[t] = (slot[t].frame == pfn -> slot[t].count : 0); t++ }
  :: else -> break
  od
}

#define ENDED(t) (seen[t] == 0 || slot[t].frame == NONE || slot[t].count != seen[t])

inline forget() {
  atomic {
    t = 1;
    do
    :: t <= THREADS -> seen[t] = 0; t++
    :: else -> break
    od;
    t = 0
  }
}

inline awaitSeen() {
  t = 1;
  do
  :: d_step { t <= THREADS && ENDED(t) -> t++ }
  :: t > THREADS -> break
  od;
  forget()
}

/* Sets stopped if an interrupt comes; it may come also where there is nothing to wait for. */
inline awaitSeenOrInterrupt() {
  t = 1;
  do
  :: d_step { t <= THREADS && ENDED(t) -> t++ }
  :: t > THREADS -> break
  :: d_step { interrupts > 0 -> interrupts--; stopped = true }; break
  od;
  forget()
}

/* ---- the host's entries ---- */

/* Accesses that begin after this do not use the entry, and no fault that looked at the page before can confirm it. */
inline revoke(m) {
  d_step {
    if
#ifdef TWIN_PENDING_AS_IT_IS
    :: pte[m].frame != NONE && !pte[m].pending -> pte[m].pending = true; pte[m].version++
#else
    :: pte[m].frame != NONE -> pte[m].pending = true; pte[m].version++
#endif
    :: else
    fi
  }
}

/* The reference of what is removed is the caller's, which drops it at once. */
inline remove(m) {
  d_step {
    got = pte[m].frame;
    if
    :: got != NONE -> pte[m].frame = NONE; pte[m].pending = false; pte[m].version++
    :: else
    fi
  };
  if
  :: got != NONE -> putPlain(got); got = NONE
  :: else
  fi
}

#define ALL_MAPPINGS 255

/*
 * Unmaps the page from one mapping or all; the page is busy. What an interrupt leaves revoked the next one finds, but in a
 * mapping that is being closed there may be no next one, so that is brought to its end.
 */
inline unmap(which) {
#ifdef TWIN_LOOKS_BEFORE_REVOKING
  look(cached);
#endif
  for (k : 0 .. MAPPINGS - 1) {
    if
    :: which == ALL_MAPPINGS || which == k -> revoke(k)
    :: else
    fi
  }
#ifndef TWIN_LOOKS_BEFORE_REVOKING
  look(cached);
#endif
#ifdef TWIN_REMOVER_DOES_NOT_WAIT
  forget();
#else
  awaitSeenOrInterrupt();
#endif
  for (k : 0 .. MAPPINGS - 1) {
    if
    :: (which == ALL_MAPPINGS || which == k) && !stopped -> remove(k)
#ifndef TWIN_INTERRUPT_LEAVES_CLOSED
    :: (which == ALL_MAPPINGS || which == k) && stopped && closed[k] -> look(pte[k].frame); awaitSeen(); remove(k)
#endif
    :: else
    fi
  }
  k = 0
}

#define GOOD(m, f) (!busy && cached == f && !inaccessible && !failed)

/*
 * A fault: takes a reference, enters it, and then looks whether the page still is what it says, and the mapping open. An access
 * that faults is one of these and then one of those below.
 */
proctype Fault(byte m) {
  byte f, got, version;
  bool mine, pending, good;
  lookupHost(f);
  if
  :: f != NONE ->
     d_step {
       if
       :: pte[m].frame == NONE -> mine = true; pte[m].frame = f; pte[m].pending = true; pte[m].version++
       :: else -> mine = false
       fi;
       version = pte[m].version;
       pending = pte[m].pending
     };
     if
     :: !mine ->
        putPlain(f);
        d_step { f = pte[m].frame; version = pte[m].version; pending = pte[m].pending }
     :: else
     fi;
     if
     :: pending ->
        good = GOOD(m, f);
        good = good && !closed[m];
        d_step {
          if
          :: pte[m].frame == f && pte[m].pending && pte[m].version == version ->
             if
             :: good -> pte[m].pending = false
#ifdef TWIN_FAULT_REMOVES_ANY
             :: !good -> pte[m].frame = NONE; pte[m].pending = false; pte[m].version++; got = f
#else
             :: !good && mine -> pte[m].frame = NONE; pte[m].pending = false; pte[m].version++; got = f
             :: !good && !mine
#endif
             fi
          :: else
          fi
        };
        if
        :: got != NONE -> putPlain(got); got = NONE
        :: else
        fi
     :: else
     fi
  :: else
  fi;
  atomic { f = NONE; version = 0; pending = false; mine = false; good = false }
}

#define MAPPED(m) (pte[m].frame != NONE && !pte[m].pending)
#define STILL_MAPS(m) (MAPPED(m) && pte[m].frame == f)

/* An access through a mapping: the entry, the announcement, the entry again, the bytes. */
proctype Access(byte me; byte m) {
  byte f;
  do
  :: d_step { MAPPED(m) -> f = pte[m].frame };
#if defined(TWIN_NO_SECOND_LOOK)
     announce(f);
     d_step { enterHost(m, f) }; leaveHost(m, f); withdraw(); break
#elif defined(TWIN_ANNOUNCES_LATE)
     if
     :: d_step { STILL_MAPS(m) -> enterHost(m, f) }; announce(f); leaveHost(m, f); withdraw(); break
     :: else
     fi
#else
     announce(f);
     if
     :: d_step { STILL_MAPS(m) -> enterHost(m, f) }; leaveHost(m, f); withdraw(); break
     :: else -> withdraw()
     fi
#endif
  :: !MAPPED(m) -> break
  od;
  f = NONE
}

/* A read of a number, which announces nothing: the entry, the bytes, the entry again. */
proctype Reader(byte m) {
  byte f, version;
  bool wrong;
  if
  :: d_step { MAPPED(m) -> f = pte[m].frame; version = pte[m].version };
     wrong = (cached != f || inaccessible); /* the bytes are those that are there now */
     d_step {
       if
       :: MAPPED(m) && pte[m].frame == f && pte[m].version == version -> CHECK_NOT(readWrongPage, wrong)
       :: else
       fi
     }
  :: !MAPPED(m)
  fi
}

/* A reference by way of the page table alone (GUP-fast): the entry, a reference on its frame, the entry again. */
proctype Gup(byte m) {
  byte f, version;
  if
  :: d_step { MAPPED(m) -> f = pte[m].frame; version = pte[m].version };
     if
     :: d_step { frame[f].plain + frame[f].safe > 0 -> frame[f].plain++ };
        if
        :: d_step { MAPPED(m) && pte[m].frame == f && pte[m].version == version -> frame[f].pinned++ };
           d_step { CHECK_NOT(enteredWrongPage, false); frame[f].pinned-- }
        :: else
        fi;
        putPlain(f)
     :: else
     fi
  :: !MAPPED(m)
  fi
}

/* ---- the guest's entry ---- */

inline zap() {
  d_step {
    got = tdp.frame;
    if
    :: got != NONE && !tdp.zapped -> tdp.zapped = true; tdp.version++
    :: else
    fi
  }
}

inline removeZapped() {
  d_step {
    got = tdp.frame;
    if
    :: got != NONE -> tdp.frame = NONE; tdp.zapped = false; tdp.shared = false; tdp.version++
    :: else
    fi
  };
  if
  :: got != NONE && KEPT -> putSafe(got)
  :: else
  fi;
  got = NONE
}

inline invalidateEnd() {
  d_step { invalidateSeq++; inProgress-- }
}

/* Sets stopped, and has ended, if it is interrupted: what is zapped stays so. */
inline invalidateBegin() {
#if VCPUS + VCPU_FAULTS + UNBINDS == 0
  skip
#else
  inProgress++;
  zap();
#ifdef CLIENT_THAT_DOES_NOT_WAIT
  removeZapped();
#else
  look(got);
  got = NONE;
  awaitSeenOrInterrupt();
  if
  :: !stopped -> removeZapped()
#ifdef TWIN_INTERRUPT_FORGETS
  :: else -> removeZapped(); invalidateEnd()
#else
  :: else -> invalidateEnd()
#endif
  fi
#endif
#endif
}

#define MAPS (tdp.frame != NONE && !tdp.zapped)

/* An access of a vCPU, with the view of the page for which it is mapped. */
proctype Vcpu(byte me) {
  byte f, version;
  bool shared;
  do
  :: d_step { MAPS -> f = tdp.frame; version = tdp.version; shared = tdp.shared };
     announce(f);
     if
     :: d_step { MAPS && tdp.version == version -> enterGuest(f, shared) }; leaveGuest(f); withdraw(); break
     :: else -> withdraw()
     fi
  :: !MAPS -> break
  od;
  atomic { f = NONE; version = 0; shared = false }
}

/* A fault of a vCPU, with either view of the page. */
proctype VcpuFault() {
  byte f, seq;
  bool shared, kept;
  if
  :: shared = true
  :: skip
  fi;
  seq = invalidateSeq;
  lookupGuest(f);
  if
  :: f != NONE ->
     if
     :: inaccessible == shared /* of the other view */
     :: inaccessible != shared ->
        d_step { /* under mmu_lock */
          if
          :: gone || inProgress > 0 || invalidateSeq != seq /* to be done again */
          :: else ->
             if
             :: tdp.frame == NONE -> tdp.frame = f; tdp.shared = shared; tdp.version++; kept = KEPT
             :: tdp.frame != NONE && tdp.zapped -> /* by an invalidation that was given up */
                CHECK_NOT(revivedWrongPage, tdp.frame != f || tdp.shared != shared);
                tdp.zapped = false; tdp.version++
             :: tdp.frame != NONE && !tdp.zapped /* another fault was faster */
             fi
          fi
        }
     fi;
     if
     :: !kept -> putSafe(f)
     :: else
     fi
  :: else
  fi;
  atomic { f = NONE; seq = 0; shared = false; kept = false }
}

/* Deletes the memslot. */
proctype Unbind() {
  byte got, t, seen[THREADS + 1];
  gone = true; /* under mmu_lock: nothing is mapped any more */
  zap();
#ifdef TWIN_UNBIND_REMOVES_FIRST
  byte f = got;
  removeZapped();
  got = f;
  look(got);
  got = NONE;
  awaitSeen()
#else
  look(got);
  got = NONE;
  awaitSeen();
  removeZapped()
#endif
}

/* ---- operations; each may give up when it is interrupted, munmap excepted ---- */

/* The last look before a commit: for clients that do not wait in invalidateBegin for all that they have let in. */
inline lookOnceMore() {
#ifndef NO_LOOK_BEFORE_COMMIT
  look(cached);
  awaitSeenOrInterrupt()
#endif
}

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
        :: !stopped ->
           lookOnceMore();
           if
           :: !stopped -> setAttribute(toPrivate)
           :: else
           fi;
           invalidateEnd()
        :: else
        fi
     :: else
     fi
  fi;
  unlockRange()
}

proctype ToPrivate() {
  byte k, t, got, seen[THREADS + 1];
  bool stopped;
  convert(true)
}

proctype ToShared() {
  byte k, t, got, seen[THREADS + 1];
  bool stopped;
  convert(false)
}

proctype Punch() {
  byte k, t, got, seen[THREADS + 1];
  bool stopped;
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
  byte k, t, got, seen[THREADS + 1];
  bool stopped;
  lockRange();
  unmap(m);
  unlockRange()
}

/* Goes on where the guest's side refuses. */
proctype Failure() {
  byte k, t, got, seen[THREADS + 1];
  bool stopped, begun;
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
  byte t, got, seen[THREADS + 1];
  closed[m] = true;
  revoke(m);
  look(pte[m].frame);
  awaitSeen();
  remove(m);
  CHECK_NOT(unmappedUnderAccess, through[m] > 0)
}

/* ---- for run.pml ---- */

inline enterGuestMapping() {
  tdp.frame = 1;
  tdp.shared = true
}

#define GUEST_FRAME tdp.frame

#include "run.pml"
