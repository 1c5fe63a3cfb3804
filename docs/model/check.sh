#!/usr/bin/env bash
# Checks the models in this directory with spin, each exhaustively, as many at once as there are processors; writes the
# figures of docs/verification.md to target/verification/models.tsv, and the shortest counterexamples as tables to
# target/verification/counterexamples, which docs/protocols.md must quote as they are.
#
# A model that is sound must have no error in any state; one that is broken, on purpose or by its protocol, must have the one
# named. A search that did not see every state (out of depth, memory or time) is a failure.
#
# With arguments, only the cases whose name has one of them in it are run, and docs/protocols.md is not looked at.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
wanted=("$@")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

readonly DEPTH=1000000 MEMORY=1500 SECONDS_EACH=200
readonly results=../../target/verification/models.tsv tables=../../target/verification/counterexamples
mkdir -p "$tables"
rm -f "$tables"/*.md
cases=0
declare -a kind expected model name switches table

is_wanted() {
  ((${#wanted[@]} == 0)) && return
  local part
  for part in "${wanted[@]}"; do [[ $1 == *"$part"* ]] && return; done
  return 1
}

add() {
  is_wanted "$4: $5" || return 0
  kind[cases]=$1 table[cases]=$2 expected[cases]=$3 model[cases]=$4 name[cases]=$5
  shift 5
  switches[cases]=$*
  cases=$((cases + 1))
}

# check EXPECTED MODEL NAME [-DSWITCH...]: EXPECTED is "sound", or what a broken model violates, as in CHECK_NOT, or "deadlock".
# Of the protocols, the shortest counterexample is looked for; the other models may have shorter ones of another kind.
check() { if [[ $1 == sound || $2 != protocols ]]; then add all '' "$@"; else add shortest '' "$@"; fi; }

# shown TABLE EXPECTED MODEL NAME [-DSWITCH...]: the same; the counterexample is written as a table.
shown() { add shortest "$@"; }

# progress EXPECTED MODEL NAME [-DSWITCH...]: EXPECTED is "ends", as the formula of that name says, or "starves".
progress() { add progress '' "$@"; }

# A step a row, a process a column.
render() {
  awk '
    $1 == "name" { pid = $2; sub(/^name [0-9]+ /, ""); called[pid] = $0 }
    $1 == "step" {
      pid = $2; sub(/^ *step [0-9]+ /, ""); gsub(/ (inaccessible|busy)=0/, "")
      sub(/ inaccessible=1/, ", inaccessible"); sub(/ busy=1/, ", busy")
      sub(/same=1/, "the same"); sub(/same=0/, "changed"); sub(/ fit=1/, ": as expected"); sub(/ fit=0/, ": **not as expected**")
      sub(/keeps its entry: 1/, "confirms its entry"); sub(/keeps its entry: 0/, "removes its entry")
      who[++steps] = pid; what[steps] = $0
      if (!(pid in column)) { column[pid] = ++columns; head[columns] = called[pid] }
    }
    END {
      line = "| step |"; rule = "|---|"
      for (c = 1; c <= columns; c++) { line = line " " head[c] " |"; rule = rule "---|" }
      print line; print rule
      for (s = 1; s <= steps; s++) {
        line = "| " s " |"
        for (c = 1; c <= columns; c++) line = line " " (column[who[s]] == c ? what[s] " |" : "|")
        print line
      }
    }'
}

run_case() {
  local n=$1 dir="$work/$1" came status=0 begun=$EPOCHSECONDS
  # Not optimized: most of the time goes to gcc.
  local options=(-O0 -DSAFETY -DCOLLAPSE) arguments=(-b)
  case ${kind[n]} in
    shortest) options=(-O0 -DSAFETY -DBFS -DNOREDUCE) ;;
    progress) options=(-O0 -DNFAIR=3) arguments=(-a -f) ;;
  esac
  local defines
  read -ra defines <<<"${switches[n]}"
  mkdir "$dir"
  cd "$dir"
  cp "$here"/*.pml .
  { spin -a "${defines[@]}" "${model[n]}.pml" && gcc -w "${options[@]}" -DMEMLIM=$MEMORY -o pan pan.c; } >build 2>&1 \
    || { cat build; echo 'does not build' >came; return; }
  timeout "$SECONDS_EACH" ./pan "${arguments[@]}" -m$DEPTH >out 2>&1 || status=$?
  if grep -q 'assertion violated' out; then
    came=$(sed -n 's/.*assertion violated  *!( *(*\([a-zA-Z]*\).*/\1/p' out | head -n 1)
  elif grep -q 'acceptance cycle' out && ! grep -q 'errors: 0' out; then
    came=starves
  elif grep -q 'invalid end state' out && ! grep -q 'errors: 0' out; then
    came=deadlock
  elif ((status != 0)) || ! grep -q 'errors: 0' out || grep -q 'max search depth too small\|Search not completed' out; then
    came='not exhaustive'
  elif [[ ${kind[n]} == progress ]]; then
    came=ends
  else
    came=sound
  fi
  echo "$came" >came
  sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' out | awk '{ printf "%d\n", $1 }' >states
  if [[ -n ${table[n]} && $came == "${expected[n]}" ]]; then
    spin -t -T "${defines[@]}" "${model[n]}.pml" | render >"$here/$tables/${table[n]}.md"
  fi
  local verdict=ok
  [[ $came == "${expected[n]}" ]] || verdict=FAILED
  printf '%-6s %-15s %-60s expected %-20s came %-20s %10s states %3d s\n' \
    "$verdict" "${model[n]}" "${name[n]}" "${expected[n]}" "$came" "$(cat states)" $((EPOCHSECONDS - begun))
}

source ./cases.sh
source ./protocol-cases.sh

for ((n = 0; n < cases; n++)); do
  while (($(jobs -rp | wc -l) >= $(nproc))); do wait -n || true; done
  run_case "$n" &
done
wait

failures=0 states_in_all=0
: >"$work/figures"
for ((n = 0; n < cases; n++)); do
  came=$(cat "$work/$n/came" 2>/dev/null || echo 'none')
  states=$(cat "$work/$n/states" 2>/dev/null || true)
  [[ $came == "${expected[n]}" ]] || failures=$((failures + 1))
  states_in_all=$((states_in_all + ${states:-0}))
  printf '%s: %s\t%s\t%s\n' "${model[n]}" "${name[n]}" "$came" "${states:--}" >>"$work/figures"
done

# Some cases are no result for the documents. Each table of docs/protocols.md is what has been found now.
quoted() { awk -v mark="<!-- the model's counterexample: $1 -->" '$0 == mark { on = 1; next } on && /^\|/ { print; seen = 1 } on && seen && !/^\|/ { exit }' ../protocols.md; }
if ((${#wanted[@]} == 0)); then
  cp "$work/figures" "$results"
  for file in "$tables"/*.md; do
    id=$(basename "$file" .md)
    diff <(quoted "$id") "$file" || { echo "FAILED: docs/protocols.md does not quote $id"; failures=$((failures + 1)); }
  done
fi

echo "$cases cases checked, $states_in_all states, $failures failed, $SECONDS s"
((cases > 0 && failures == 0))
