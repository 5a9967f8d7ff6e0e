#!/usr/bin/env bash
# End what scripts/slurm_up.sh started. SLURM_ROOT as there; PURGE=1 removes its files too.
set -uo pipefail

ROOT=${SLURM_ROOT:-/tmp/prune_init_slurm}
export SLURM_CONF=$ROOT/slurm.conf

# end NAME: ask the daemon of that pid file to go, and insist after ten seconds; make sure it is that daemon
end() {
  local pid
  pid=$(cat "$ROOT/run/$1.pid" 2>/dev/null) || return 0
  is_it() { [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ] && ! grep -q '^State:.Z' "/proc/$pid/status"; }
  is_it "$1" && kill "$pid"
  for _ in $(seq 50); do
    is_it "$1" || break
    sleep 0.2
  done
  is_it "$1" && kill -KILL "$pid"
  rm -f "$ROOT/run/$1.pid"
}

scancel --user=root 2>/dev/null
for daemon in slurmd slurmctld slurmdbd mariadbd; do end "$daemon"; done
if [ -e "$ROOT/run/munged_is_ours" ]; then
  munged --stop 2>/dev/null || runuser -u munge -- munged --stop
  rm -f "$ROOT/run/munged_is_ours"
fi
[ "${PURGE:-0}" = 0 ] || rm -rf "$ROOT"
exit 0
