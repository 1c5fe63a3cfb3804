/*
 * The counts of a frame, one word; and its folio lock. Every d_step is one atomic operation on that word.
 *
 * A process that uses these has the locals of USES_COUNTS.
 */

typedef Frame {
  byte refs;   /* all references: the page cache's, and those of entries, GUP, walkers and guest-side holders */
  byte safes;  /* guest-side holders */
  bool cached; /* the page cache has a reference, which it lends where the protocol says so */
  bool frozen; /* no reference can be taken; a free frame is frozen */
  bool waited; /* a conversion waits for these counts, or watches them */
  bool locked; /* the folio lock */
  bool free;   /* on the free list */
#ifdef BATCHED
  bool batched; /* an LRU batch has a reference */
#endif
#ifdef GUPS_KEEP
  byte kept;   /* not in the code: the references of GUP users that keep theirs */
#endif
  byte hosts;  /* not in the code: users on the host's side that may reach the content by a reference */
  byte guests  /* not in the code: guest-side holders that have done all their steps */
}
Frame frame[FRAMES + 1]; /* frame 0 is none */

/* The thread that waits for the counts of a frame. */
typedef Waiter {
  bool queued; /* it is in the queue, so that a put wakes it */
  bool permit  /* it has been unparked */
}
Waiter waiter[FRAMES + 1];

bool toTry; /* the pending conversion is to be tried, by the thread that let go or by the executor */

#define USES_COUNTS bool got, wake

/* ---- getting ---- */

/* Takes references unless the frame is frozen, adding first and looking afterwards. Sets got. */
inline tryGet(x, r, s) {
  d_step {
    got = !frame[x].frozen;
    frame[x].refs = frame[x].refs + r;
    frame[x].safes = frame[x].safes + s;
    printf("step %d adds %d+%d to frame %d\n", _pid, r, s, x)
  };
  if
  :: !got ->
     takeBack(x, r, s)
  :: else
  fi
}

/* For pins, and for safe holders without a reference: looks first. Sets got. */
inline tryGetAfterLook(x, r, s, condition) {
  d_step {
    got = !frame[x].frozen && (condition);
    if
    :: got -> frame[x].refs = frame[x].refs + r; frame[x].safes = frame[x].safes + s
    :: else
    fi;
    printf("step %d adds %d+%d to frame %d\n", _pid, (got -> r : 0), (got -> s : 0), x)
  }
}

inline markSafe(x) {
  d_step {
    frame[x].safes++;
#ifndef TWIN_SAFE_STEP_DOES_NOT_WAKE
    wake = frame[x].waited;
#endif
    printf("step %d adds 0+1 to frame %d\n", _pid, x)
  };
  tell(x)
}

/* ---- putting: the last put frees the frame, in one step with it ---- */

inline subtract(x, r, s) {
  frame[x].refs = frame[x].refs - r;
  frame[x].safes = frame[x].safes - s;
  wake = frame[x].waited;
  if
#ifdef TWIN_LAST_PUT_FORGETS_SAFE
  :: frame[x].refs == 0 ->
#else
  :: frame[x].refs == 0 && frame[x].safes == 0 ->
#endif
     CHECK_NOT(freedTwice, frame[x].free);
     CHECK_NOT(freedUnderHolder, frame[x].hosts + frame[x].guests > 0);
     CHECK_NOT(freedInPlace, IN_PLACE(x));
     frame[x].frozen = true;
     frame[x].waited = false;
     frame[x].free = true
  :: else
  fi
}

/* What the caller holds: as a host's user if h is 1, as a guest-side holder if g is 1. */
inline put(x, r, s, h, g) {
  d_step {
    CHECK_NOT(putTwice, frame[x].frozen || frame[x].refs < r || frame[x].safes < s);
    frame[x].hosts = frame[x].hosts - h;
    frame[x].guests = frame[x].guests - g;
    subtract(x, r, s);
    printf("step %d takes %d+%d from frame %d\n", _pid, r, s, x)
  };
  tell(x)
}

/* What was added in vain: a put, unless the frame is still frozen. */
inline takeBack(x, r, s) {
  d_step {
    if
#ifndef TWIN_TAKES_BACK_BLINDLY
    :: frame[x].frozen -> frame[x].refs = frame[x].refs - r; frame[x].safes = frame[x].safes - s
#endif
    :: else -> subtract(x, r, s)
    fi;
    printf("step %d takes %d+%d from frame %d\n", _pid, r, s, x)
  };
  tell(x)
}

/* The page cache's own. */
inline putCaches(x) {
  d_step {
    frame[x].cached = false;
    subtract(x, 1, 0);
    printf("step %d takes 1+0 from frame %d\n", _pid, x)
  };
  tell(x)
}

#ifdef BATCHED
/* Drops the reference that an LRU batch has on a frame. */
inline drain(x) {
  d_step {
#ifdef NO_DRAIN_FOR_PIN
    CHECK_NOT(drainedForPin, frame[x].hosts > 0 && frame[x].refs >= PIN_BIAS);
#endif
    got = frame[x].batched;
    frame[x].batched = false;
    printf("step %d takes frame %d out of its batch\n", _pid, x)
  };
  if
  :: got -> put(x, 1, 0, 0, 0)
  :: else
  fi;
  got = false
}
#define IN_BATCH(x) frame[x].batched
#else
#define IN_BATCH(x) false
#endif

/* Wakes the thread that waits for the counts, and has the conversion that watches them tried. */
inline tell(x) {
  if
  :: wake ->
     d_step {
       wake = false;
       waiter[x].permit = waiter[x].queued;
       toTry = toTry || (later == PENDING && watched == x);
       printf("step %d wakes who waits for frame %d\n", _pid, x)
     }
  :: else
  fi
}

/* ---- the folio lock ---- */

inline lockFolio(x) {
  atomic { !frame[x].locked -> frame[x].locked = true; printf("step %d locks frame %d\n", _pid, x) }
}

inline unlockFolio(x) {
  d_step { frame[x].locked = false; printf("step %d unlocks frame %d\n", _pid, x) }
}

inline awaitUnlocked(x) {
  atomic { !frame[x].locked -> printf("step %d sees frame %d unlocked\n", _pid, x) }
}
