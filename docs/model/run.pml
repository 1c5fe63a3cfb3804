/* Starts as many processes of each kind as are asked for, and looks at what they leave behind. */

init {
  byte i, m, t;
  atomic {
#ifndef FROM_A_HOLE /* else the page is there, accessible, and mapped everywhere */
    cached = 1;
    frame[1].plain = 1;
    for (m : 0 .. MAPPINGS - 1) { pte[m].frame = 1; frame[1].plain++ }
#if VCPUS + VCPU_FAULTS > 0
    enterGuestMapping();
    frame[1].safe = (KEPT -> 1 : 0);
#endif
#endif
    START(ACCESSES, t++; run Access(t, (i - 1) % MAPPINGS));
    START(VCPUS, t++; run Vcpu(t));
    START(FAULTS, run Fault((i - 1) % MAPPINGS));
#if VCPU_FAULTS > 0
    START(VCPU_FAULTS, run VcpuFault());
#endif
#ifdef READERS
    START(READERS, run Reader(0));
#endif
#ifdef GUPS
    START(GUPS, run Gup(0));
#endif
    START(PUNCHES, run Punch());
    START(TO_PRIVATE, run ToPrivate());
    START(TO_SHARED, run ToShared());
    START(FAILURES, run Failure());
    START(DONTNEEDS, run DontNeed(0));
    START(MUNMAPS, run Munmap(0));
    START(UNBINDS, run Unbind());
    i = 0; m = 0; t = 0
  }
  _nr_pr == 1; /* all have ended; if they never do, spin finds an invalid end state */
  atomic {
    for (i : 1 .. FRAMES) {
      t = (cached == i -> 1 : 0);
      for (m : 0 .. MAPPINGS - 1) {
        if
        :: pte[m].frame == i -> t++
        :: else
        fi
      }
      CHECK_NOT(referencesLost, frame[i].plain != t || frame[i].safe != (KEPT && GUEST_FRAME == i -> 1 : 0))
    }
    for (m : 0 .. MAPPINGS - 1) {
      CHECK_NOT(entryLeft, closed[m] && pte[m].frame != NONE)
    }
    CHECK_NOT(entryLeft, gone && GUEST_FRAME != NONE)
  }
}
