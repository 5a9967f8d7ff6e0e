#!/usr/bin/env bash
# A real SLURM on this one machine, for tests: munge, MariaDB, slurmdbd, slurmctld, slurmd. Run as root; no systemd needed.
#   apt-get install --no-install-recommends slurmctld slurmd slurm-client munge slurmdbd mariadb-server
#   scripts/slurm_up.sh && export SLURM_CONF=/tmp/prune_init_slurm/slurm.conf
# What runs already is left alone, what is missing is started: this also brings back a daemon that was killed.
# Settings, by environment variables:
#   SLURM_ROOT=/tmp/prune_init_slurm  everything that is written, /etc/munge/munge.key excepted
#   SLURM_PORT=16817                  the first of three ports
#   SLURM_CPUS=8  SLURM_GPUS=2        what the node claims to have
#   SLURM_MAXARRAY=1001               MaxArraySize
#   SLURM_ACCT=1                      0: without slurmdbd, so that sacct fails as on some clusters
set -euo pipefail

ROOT=${SLURM_ROOT:-/tmp/prune_init_slurm}
PORT=${SLURM_PORT:-16817}
ACCT=${SLURM_ACCT:-1}
HOST=$(hostname -s)
SOCKET=$ROOT/run/mariadb.sock
export SLURM_CONF=$ROOT/slurm.conf

fail() { echo "slurm_up: $*" >&2; exit 1; }

# until SECONDS WHAT COMMAND...: ask until it says yes
until_true() {
  local left=$(($1 * 5)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || fail "$what does not come up; logs are in $ROOT/log"
    sleep 0.2
  done
}

# A daemon that died may stay as a zombie where nobody reaps it: look at its state, not at its number.
runs() {
  local file=$ROOT/run/$1.pid state
  [ -s "$file" ] || return 1
  state=$(awk '/^State:/ {print $2}' "/proc/$(cat "$file")/status" 2>/dev/null) || return 1
  [ -n "$state" ] && [ "$state" != Z ]
}

[ "$(id -u)" = 0 ] || fail "needs root"
NEEDED="munged slurmctld slurmd sbatch"
[ "$ACCT" = 0 ] || NEEDED="$NEEDED slurmdbd mariadbd"
for program in $NEEDED; do command -v "$program" >/dev/null || fail "$program is not installed"; done
mkdir -p "$ROOT"/{state,spool,log,run,db}

storage=AccountingStorageType=accounting_storage/none
[ "$ACCT" = 0 ] || storage="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=$((PORT + 2))"
gpus=${SLURM_GPUS:-2}
gres=
: >"$ROOT/gres.conf"
if [ "$gpus" -gt 0 ]; then # terminals stand in for devices: jobs get a true CUDA_VISIBLE_DEVICES
  gres="Gres=gpu:$gpus"
  echo "NodeName=$HOST Name=gpu File=/dev/tty[0-$((gpus - 1))]" >"$ROOT/gres.conf"
fi
cat >"$SLURM_CONF" <<END
ClusterName=prune_init
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=$PORT
SlurmdPort=$((PORT + 1))
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$ROOT/state
SlurmdSpoolDir=$ROOT/spool
SlurmctldPidFile=$ROOT/run/slurmctld.pid
SlurmdPidFile=$ROOT/run/slurmd.pid
SlurmctldLogFile=$ROOT/log/slurmctld.log
SlurmdLogFile=$ROOT/log/slurmd.log
$storage
JobAcctGatherType=jobacct_gather/none
MailProg=/bin/true
MpiDefault=none
# no control groups
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# the node may claim more than the machine has
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=${SLURM_CPUS:-8} RealMemory=16000 $gres State=UNKNOWN
ReturnToService=2
# quick: a requeued job waits cred_expire + 1 s, 2 minutes by default; a silent node is lost after 10 s, not 300
AuthInfo=cred_expire=5
SchedulerParameters=sched_interval=2,bf_interval=2
KillWait=5
SlurmdTimeout=10
MaxArraySize=${SLURM_MAXARRAY:-1001}
# a job in 'urgent' preempts those in 'debug': SIGTERM, 5 s of grace, SIGKILL, back into the queue
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=debug Nodes=$HOST Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=5
PartitionName=urgent Nodes=$HOST MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
END
# From 23.11 on slurmd insists on control groups unless told not to in a word that older versions refuse.
rm -f "$ROOT/cgroup.conf"
version=$(slurmd -V | grep -oE '[0-9]+\.[0-9]+' | head -n 1)
[ "$(printf '%s\n' "$version" 23.11 | sort -V | head -n 1)" != 23.11 ] || echo CgroupPlugin=disabled >"$ROOT/cgroup.conf"

if ! sh -c 'munge -n | unmunge' >/dev/null 2>&1; then
  [ -s /etc/munge/munge.key ] || runuser -u munge -- mungekey --create
  install -d -o munge -g munge -m 755 /run/munge
  runuser -u munge -- "$(command -v munged)"
  touch "$ROOT/run/munged_is_ours"
  until_true 10 munged sh -c 'munge -n | unmunge'
fi

if [ "$ACCT" != 0 ]; then
  if ! runs mariadbd; then
    chown mysql:mysql "$ROOT/db" "$ROOT/run"
    [ -d "$ROOT/db/mysql" ] || mariadb-install-db --user=mysql --datadir="$ROOT/db" --skip-test-db \
      --auth-root-authentication-method=normal >"$ROOT/log/mariadb-install.log" 2>&1
    setsid mariadbd --no-defaults --user=mysql --datadir="$ROOT/db" --socket="$SOCKET" --skip-networking \
      --pid-file="$ROOT/run/mariadbd.pid" --innodb-buffer-pool-size=64M --innodb-log-file-size=16M \
      --innodb-lock-wait-timeout=900 --innodb-flush-log-at-trx-commit=0 >"$ROOT/log/mariadbd.log" 2>&1 </dev/null &
    until_true 60 mariadbd mariadb-admin --socket="$SOCKET" ping
  fi
  mariadb --socket="$SOCKET" --execute 'create database if not exists slurm_acct_db'
  if ! runs slurmdbd; then
    (
      umask 077
      cat >"$ROOT/slurmdbd.conf" <<END
AuthType=auth/munge
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((PORT + 2))
SlurmUser=root
LogFile=$ROOT/log/slurmdbd.log
PidFile=$ROOT/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
END
    )
    MYSQL_UNIX_PORT=$SOCKET slurmdbd
    until_true 60 slurmdbd sacctmgr --noheader list cluster
  fi
  sacctmgr --noheader list cluster format=cluster | grep -qw prune_init ||
    sacctmgr --immediate add cluster prune_init >"$ROOT/log/sacctmgr.log" 2>&1
fi

runs slurmctld || slurmctld || fail "slurmctld: $(tail -n 3 "$ROOT/log/slurmctld.log")"
until_true 60 slurmctld sh -c 'scontrol ping | grep -q UP'
runs slurmd || slurmd || fail "slurmd: $(tail -n 3 "$ROOT/log/slurmd.log")"
until_true 60 'the node' sh -c "sinfo --noheader --format=%T | grep -Eqx 'idle|mixed|allocated'"
echo "SLURM $version is up: export SLURM_CONF=$SLURM_CONF"
