#!/usr/bin/env bash
# Checks the models in this directory with spin, each exhaustively, and writes the figures of
# docs/verification.md to target/verification/models.tsv.
#
# A model that is sound must have no error in any state; one that is broken on purpose must have the one named. A search that
# did not see every state (out of depth, memory or time) is a failure.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

readonly DEPTH=100000 MEMORY=2000 SECONDS_EACH=100
failures=0 checked=0 states_in_all=0
results=../../target/verification/models.tsv
mkdir -p "$(dirname "$results")"
: >"$results"

# check EXPECTED MODEL NAME [-DSWITCH...]: EXPECTED is "sound", or what a broken model violates, as in CHECK_NOT.
check() {
  local expected=$1 model=$2 name=$3 came status=0
  shift 3
  rm -rf "$work/run"
  mkdir "$work/run"
  (
    cd "$work/run"
    cp "$here"/*.pml .
    spin -a "$@" "$model.pml" && gcc -O0 -DSAFETY -DCOLLAPSE -DMEMLIM=$MEMORY -o pan pan.c
  ) >"$work/build" 2>&1 || { cat "$work/build"; echo "FAILED: $model, $name: does not build"; failures=$((failures + 1)); return; }
  (cd "$work/run" && timeout "$SECONDS_EACH" ./pan -b -m$DEPTH) >"$work/out" 2>&1 || status=$?
  local states transitions depth
  states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' "$work/out")
  transitions=$(sed -n 's/^ *\([0-9]*\) transitions.*/\1/p' "$work/out")
  depth=$(sed -n 's/.*depth reached \([0-9]*\),.*/\1/p' "$work/out")
  if grep -q 'assertion violated' "$work/out"; then
    came=$(sed -n 's/.*assertion violated !( *\([a-zA-Z]*\).*/\1/p; s/.*assertion violated  *!(*\([a-zA-Z]*\).*/\1/p' "$work/out" | head -n 1)
  elif grep -q 'invalid end state' "$work/out" && ! grep -q 'errors: 0' "$work/out"; then
    came=deadlock
  elif ((status != 0)) || ! grep -q 'errors: 0' "$work/out" || grep -q 'max search depth too small\|Search not completed' "$work/out"; then
    came='not exhaustive'
  else
    came=sound
  fi
  local verdict=ok
  if [[ $came != "$expected" ]]; then
    verdict=FAILED
    failures=$((failures + 1))
  fi
  checked=$((checked + 1))
  states_in_all=$((states_in_all + ${states:-0}))
  printf '%-6s %-15s %-42s expected %-24s came %-24s %9s states %9s transitions %5s deep\n' \
    "$verdict" "$model" "$name" "$expected" "$came" "${states:-?}" "${transitions:-?}" "${depth:-?}"
  printf '%s: %s\t%s\t%s\n' "$model" "$name" "$came" "${states:--}" >>"$results"
}

source ./cases.sh

echo "$checked models checked, $states_in_all states, $failures failed"
((failures == 0))
