#!/usr/bin/env bash
# Runs make targets one after the other and then says of each how long it took,
# what ran and what was skipped, and how much memory the machine had in use at
# most. Fails if one fails. usage: integration.sh TARGET...
set -uo pipefail
cd "$(dirname "$0")/../.." || exit

work=$(mktemp -d)
used() { awk '/^MemTotal/ {t = $2} /^MemAvailable/ {a = $2} END {print int((t - a) / 1024)}' /proc/meminfo; }
if [ -r /proc/meminfo ]; then
  used >"$work/before"
  while sleep 1; do used; done >"$work/used" &
  sampler=$!
fi
trap 'kill "${sampler:-}" 2>/dev/null; rm -rf "$work"' EXIT

failed=0
for target in "$@"; do
  began=$SECONDS
  if make "$target" 2>&1 | tee "$work/$target"; then outcome=passed; else outcome=FAILED failed=1; fi
  echo "$target: $outcome in $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s" >>"$work/summary"
  # Tests and their parts; a skip with its reason.
  grep -E '^ *--- (PASS|FAIL|SKIP)|SKIPPED:' "$work/$target" | sed 's/^/  /' >>"$work/summary"
done
echo
echo "== integration"
cat "$work/summary"
if [ -s "${work}/used" ]; then
  echo "memory in use: $(cat "$work/before") MiB before, $(sort -n "$work/used" | tail -1) MiB at most"
fi
exit "$failed"
