# What check.sh checks of the eight protocols. Sourced by it.

# The id of the library, and the name in protocol.pml.
protocols=(
  pin-check:PIN_CHECK_PROTOCOL both-counters:BOTH_COUNTERS safe-only:SAFE_ONLY lock-only:LOCK_ONLY
  timed-wait:TIMED_WAIT last-put:LAST_PUT invalidate-lock:INVALIDATE_LOCK atomic-pair:ATOMIC_PAIR)

# each CHECK WHAT "EXPECTED..." -DSWITCH...: a case for each protocol, in the order above; or one expectation for all.
each() {
  local how=$1 what=$2 i come
  read -ra come <<<"$3"
  shift 3
  for i in "${!protocols[@]}"; do
    "$how" "${come[i]:-${come[0]}}" protocols "${protocols[i]%:*}: $what" "-DPROTOCOL=${protocols[i]#*:}" "$@"
  done
}

# ---- soundness: every order ----

unsound='convertedUnderHolder sound sound sound sound sound sound sound'
each check 'two vCPUs, GUP, conversion' "$unsound" -DVCPUS=2 -DGUPS=1 -DCONVERSIONS=1
each check 'vCPU, GUP, walker, conversion' "$unsound" -DVCPUS=1 -DGUPS=1 -DWALKERS=1 -DCONVERSIONS=1
each check 'host, GUP, conversion, and back' "$unsound" -DHOSTS=1 -DGUPS=1 -DCONVERSIONS=1 -DRETURNS=1
each check 'vCPU, GUP, punch, conversion' "$unsound" -DFRAMES=2 -DVCPUS=1 -DGUPS=1 -DPUNCHES=1 -DCONVERSIONS=1
each check 'vCPU, host, punch, conversion' sound -DFRAMES=2 -DVCPUS=1 -DHOSTS=1 -DPUNCHES=1 -DCONVERSIONS=1
each check 'two vCPUs, walker, punch' sound -DFRAMES=2 -DVCPUS=2 -DWALKERS=2 -DPUNCHES=1
each check 'two pages: vCPU, GUP, conversion of both' "$unsound" -DPAGES=2 -DVCPUS=1 -DGUPS=1 -DCONVERSIONS=1
each check 'in an LRU batch: vCPU, GUP, conversion' "$unsound" -DBATCHED -DVCPUS=1 -DGUPS=1 -DCONVERSIONS=1
check sound protocols 'pin-check: every user of the host has pinned' \
  -DPROTOCOL=PIN_CHECK_PROTOCOL -DPINS_ONLY -DVCPUS=2 -DGUPS=1 -DCONVERSIONS=1

# ---- progress: every order, and fair cycles ----

# A conversion that waits, however long, comes to its end while vCPUs come and go for ever; so it needs no time limit.
for p in "${protocols[@]}"; do
  policy=WAITS came=ends
  case $p in
    pin-check:* | invalidate-lock:*) policy=FAILS ;;
    last-put:*) policy=LATER ;;
    timed-wait:*) came=starves ;;
  esac
  progress $came protocols "${p%:*}: vCPUs come and go" "-DPROTOCOL=${p#*:}" -DFOR_EVER -DVCPUS=2 -DCONVERSIONS=1 -DPOLICY=$policy
done
progress ends protocols 'timed-wait: vCPUs come and go, its time is limited' \
  -DPROTOCOL=TIMED_WAIT -DFOR_EVER -DVCPUS=2 -DCONVERSIONS=1 -DPOLICY=WAITS_IN_VAIN
# It is the busy bit that keeps the next vCPU away; without it the two counters are never seen equal.
progress starves protocols 'TWIN_NOT_BUSY, both-counters' \
  -DTWIN_NOT_BUSY -DPROTOCOL=BOTH_COUNTERS -DFOR_EVER -DVCPUS=2 -DCONVERSIONS=1 -DPOLICY=WAITS
progress ends protocols 'TWIN_NOT_BUSY, atomic-pair' \
  -DTWIN_NOT_BUSY -DPROTOCOL=ATOMIC_PAIR -DFOR_EVER -DVCPUS=2 -DCONVERSIONS=1 -DPOLICY=WAITS
# No wake-up is lost, also if another thread holds the page meanwhile.
each check 'no lost wake-up: vCPU, GUP, walker' 'convertedUnderHolder sound sound sound deadlock sound sound sound' \
  -DVCPUS=1 -DGUPS=1 -DWALKERS=1 -DCONVERSIONS=1 -DPOLICY=WAITS
check sound protocols 'last-put: no lost completion' -DPROTOCOL=LAST_PUT -DVCPUS=1 -DGUPS=1 -DWALKERS=1 -DCONVERSIONS=1
check sound protocols 'last-put: two conversions' -DPROTOCOL=LAST_PUT -DVCPUS=1 -DGUPS=1 -DCONVERSIONS=2

# ---- what each costs; these are no faults ----

each check 'a refusal means a holder: vCPU' 'sound falseAlarm sound sound falseAlarm falseAlarm falseAlarm sound' \
  -DVCPUS=1 -DCONVERSIONS=1 -DPOLICY=FAILS -DNO_FALSE_ALARM
each check 'a refusal means a holder: walker' \
  'sound falseAlarm falseAlarm falseAlarm falseAlarm falseAlarm falseAlarm falseAlarm' \
  -DWALKERS=1 -DCONVERSIONS=1 -DPOLICY=FAILS -DNO_FALSE_ALARM
each check 'a refusal means a holder: LRU batch' sound -DBATCHED -DCONVERSIONS=1 -DPOLICY=FAILS -DNO_FALSE_ALARM
no_drain='drainedForPin drainedForPin drainedForPin drainedForPin drainedForPin drainedForPin sound drainedForPin'
each check 'no batch is drained for a pin' "$no_drain" -DBATCHED -DGUPS=1 -DCONVERSIONS=1 -DPOLICY=FAILS -DNO_DRAIN_FOR_PIN
each check 'does not wait for a pin that is kept' 'deadlock deadlock deadlock deadlock deadlock deadlock sound deadlock' \
  -DPINS_ONLY -DGUPS_KEEP -DGUPS=1 -DCONVERSIONS=1 -DPOLICY=WAITS
v8() { check "$1" protocols "invalidate-lock-v8: $2" -DPROTOCOL=INVALIDATE_LOCK -DV8 "${@:3}"; }
v8 sound 'in an LRU batch: vCPU, GUP, conversion' -DBATCHED -DVCPUS=1 -DGUPS=1 -DCONVERSIONS=1
v8 drainedForPin 'no batch is drained for a pin' -DBATCHED -DGUPS=1 -DCONVERSIONS=1 -DNO_DRAIN_FOR_PIN
v8 deadlock 'does not wait for a pin that is kept' -DPINS_ONLY -DGUPS_KEEP -DGUPS=1 -DCONVERSIONS=1 -DPOLICY=WAITS
each check 'a wait for a vCPU is not in vain' 'sound sound sound sound waitedInVain sound sound sound' \
  -DVCPUS=1 -DCONVERSIONS=1 -DPOLICY=WAITS_IN_VAIN -DNO_FALSE_ALARM
each check 'converts while a vCPU keeps the page' 'sound sound sound deadlock deadlock deadlock deadlock sound' \
  -DKEEPERS=1 -DCONVERSIONS=1 -DPOLICY=WAITS
each check 'a vCPU converts what it holds' 'sound sound sound deadlock sound sound sound sound' -DSELF_CONVERSIONS=1 # the library answers EDEADLK
each check 'two vCPUs hold a page each and convert the other' 'sound sound sound deadlock sound sound sound sound' \
  -DPAGES=2 -DRANGE=1 -DSPREAD -DSELF_CONVERSIONS=2 -DPOLICY=FAILS
each check 'a punch leaves no orphan' 'orphaned orphaned sound sound orphaned orphaned orphaned orphaned' \
  -DFRAMES=2 -DVCPUS=1 -DPUNCHES=1 -DPOLICY=FAILS -DNO_ORPHAN
each check 'a punch is never refused' 'sound punchRefused punchRefused sound sound sound sound sound' \
  -DFRAMES=2 -DVCPUS=1 -DPUNCHES=1 -DPOLICY=FAILS -DNO_REFUSED_PUNCH
each check 'no fault waits for another page' 'sound sound sound sound sound sound waitedElsewhere sound' \
  -DPAGES=2 -DRANGE=1 -DHOSTS=1 -DCONVERSIONS=1 -DNO_WAIT_ELSEWHERE

# ---- the shortest counterexamples that docs/protocols.md shows ----

shown pin-check leaked protocols 'pin-check: shown' -DPROTOCOL=PIN_CHECK_PROTOCOL -DNO_PINS -DGUPS=1 -DCONVERSIONS=1 -DSHOW_LEAK
shown both-counters falseAlarm protocols 'both-counters: shown' \
  -DPROTOCOL=BOTH_COUNTERS -DVCPUS=1 -DCONVERSIONS=1 -DPOLICY=FAILS -DNO_FALSE_ALARM
shown both-counters-orphan orphaned protocols 'both-counters: orphan shown' \
  -DPROTOCOL=BOTH_COUNTERS -DFRAMES=2 -DVCPUS=1 -DPUNCHES=1 -DPOLICY=FAILS -DNO_ORPHAN
shown safe-only punchRefused protocols 'safe-only: shown' \
  -DPROTOCOL=SAFE_ONLY -DFRAMES=2 -DVCPUS=1 -DPUNCHES=1 -DPOLICY=FAILS -DNO_REFUSED_PUNCH
shown lock-only deadlock protocols 'lock-only: shown' \
  -DPROTOCOL=LOCK_ONLY -DPAGES=2 -DRANGE=1 -DSPREAD -DSELF_CONVERSIONS=2 -DPOLICY=FAILS
shown timed-wait waitedInVain protocols 'timed-wait: shown' \
  -DPROTOCOL=TIMED_WAIT -DVCPUS=1 -DCONVERSIONS=1 -DPOLICY=WAITS_IN_VAIN -DNO_FALSE_ALARM
shown last-put falseAlarm protocols 'last-put: shown' \
  -DPROTOCOL=LAST_PUT -DWALKERS=1 -DCONVERSIONS=1 -DPOLICY=FAILS -DNO_FALSE_ALARM
shown invalidate-lock waitedElsewhere protocols 'invalidate-lock: shown' \
  -DPROTOCOL=INVALIDATE_LOCK -DPAGES=2 -DRANGE=1 -DHOSTS=1 -DCONVERSIONS=1 -DNO_WAIT_ELSEWHERE
shown atomic-pair falseAlarm protocols 'atomic-pair: shown' \
  -DPROTOCOL=ATOMIC_PAIR -DWALKERS=1 -DCONVERSIONS=1 -DPOLICY=FAILS -DNO_FALSE_ALARM

# ---- broken twins: each invariant can fail ----

twin() { check "$1" protocols "$2, ${3%:*}" "-D$2" "-DPROTOCOL=${3#*:}" "${@:4}"; }
pair=atomic-pair:ATOMIC_PAIR counters=both-counters:BOTH_COUNTERS safe=safe-only:SAFE_ONLY lock=lock-only:LOCK_ONLY
put=last-put:LAST_PUT
twin convertedUnderHolder TWIN_NO_LOOK_AFTER_DRAIN invalidate-lock:INVALIDATE_LOCK \
  -DBATCHED -DNO_PINS -DGUPS=1 -DCONVERSIONS=1
twin leaked TWIN_NO_SECOND_LOOK $pair -DSHOW_LEAK -DGUPS=1 -DCONVERSIONS=1
twin leaked TWIN_GUP_LOOKS_ONCE $pair -DSHOW_LEAK -DSTARTS_MAPPED -DGUPS=1 -DCONVERSIONS=1
twin staleEntry TWIN_CONFIRMS_BLINDLY $pair -DHOSTS=1 -DPUNCHES=1
twin convertedUnderHolder TWIN_ALLOWS_ONE_MORE $pair -DGUPS=1 -DCONVERSIONS=1
twin convertedUnderHolder TWIN_DROPS_REF_FIRST $counters -DNO_PINS -DVCPUS=1 -DGUPS=1 -DCONVERSIONS=1
twin freedInPlace TWIN_REMOVES_WITHOUT_A_LOOK $pair -DHOSTS=1 -DCONVERSIONS=1
twin freedInPlace TWIN_THAW_STORES $pair -DFRAMES=2 -DWALKERS=2 -DVCPUS=1 -DPUNCHES=1
twin freedTwice TWIN_TAKES_BACK_BLINDLY $pair -DFRAMES=2 -DWALKERS=2
twin freedUnderHolder TWIN_LAST_PUT_FORGETS_SAFE $safe -DTWIN_PUNCHES_UNDER_SAFE -DKEEPERS=1 -DPUNCHES=1
twin putTwice TWIN_LOCK_IS_ENOUGH $lock -DFRAMES=2 -DVCPUS=1 -DPUNCHES=1
twin orphaned TWIN_PUNCHES_UNDER_SAFE $safe -DVCPUS=1 -DPUNCHES=1 -DNO_ORPHAN
twin inTwoPlaces TWIN_STAYS_ON_THE_FREE_LIST $pair -DPAGES=2 -DSTARTS_EMPTY -DSPREAD -DVCPUS=2
twin countsWrong TWIN_FILLS_ANYWAY $pair -DFRAMES=2 -DSTARTS_EMPTY -DVCPUS=2
twin countsWrong TWIN_KEEPS_LATE_REFERENCE $pair -DGUPS=1 -DCONVERSIONS=1
twin changedByRefusal TWIN_COMMITS_EACH $pair -DPAGES=2 -DGUPS=1 -DCONVERSIONS=1
twin changedByRefusal TWIN_STAYS_FROZEN $put -DPAGES=2 -DVCPUS=1 -DPOLICY=FAILS -DCONVERSIONS=1
twin deadlock TWIN_WATCHES_LATE $put -DVCPUS=1 -DCONVERSIONS=1
twin deadlock TWIN_LOOKS_BEFORE_IT_IS_WAITED_FOR $pair -DGUPS=1 -DPOLICY=WAITS -DCONVERSIONS=1
twin deadlock TWIN_SAFE_STEP_DOES_NOT_WAKE $counters -DKEEPERS=1 -DPOLICY=WAITS -DCONVERSIONS=1
