"""Sweeps on a real SLURM that is started here: whatever the cluster does, no run is lost or run twice."""

import os
import re
import shutil
import signal
import subprocess
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest
from sweeping import FAULTS, PRUNED, TRAINED, Sweep, attempts, rows, torn, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.xdist_group("slurm")]
SCRIPTS = Path(__file__).parents[1] / "scripts"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "slurmdbd", "mariadbd")
ROOT = Path("/tmp/prune_init_slurm_test")
SMALL = ("hydra.launcher.gpus_per_node=null", "hydra.launcher.cpus_per_task=1", "hydra.launcher.timeout_min=60")
PACKED = ("hydra/launcher=packed_slurm", *SMALL, "hydra.launcher.runs_per_job=2", "hydra.launcher.concurrent_runs=2")


@pytest.fixture(scope="session")
def cluster():
    """A SLURM of one node, with job arrays of at most two elements, daemons that can be killed, and no accounting."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"no local SLURM: {', '.join(missing) + ' not installed' if missing else 'needs root'}")
    settings = {"SLURM_ROOT": str(ROOT), "SLURM_PORT": "17817", "SLURM_MAXARRAY": "2", "SLURM_CPUS": "8"}

    def script(name: str, **more: str) -> None:
        subprocess.run([SCRIPTS / name], env={**os.environ, **settings, **more}, check=True, timeout=300)

    script("slurm_down.sh", PURGE="1")
    os.environ["SLURM_CONF"] = str(ROOT / "slurm.conf")
    script("slurm_up.sh")
    yield lambda: script("slurm_up.sh")
    script("slurm_down.sh", PURGE="1")
    del os.environ["SLURM_CONF"]


@pytest.fixture
def start(cluster, tmp_path):
    """`start(...)` starts a sweep; jobs that a test leaves behind are cancelled."""
    running: list[Sweep] = []

    def begin(*arguments: str, **environment: str) -> Sweep:
        path = os.pathsep.join([str(FAULTS / "bin"), os.environ["PATH"]])
        running.append(Sweep(tmp_path / "runs", *arguments, PATH=path, **environment))
        return running[-1]

    yield begin
    for sweep in running:
        with suppress(ProcessLookupError):
            sweep.kill()
    said("scancel", "--user=root")
    wait_until(lambda: not queue(), "an empty queue")


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def queue() -> list[str]:
    return said("squeue", "--noheader", "--array", "--format=%i %T").split("\n")[:-1]


def waiting(folder: Path) -> list[int]:
    """The processes of runs that are waiting."""
    return [int(path.suffix[1:]) for path in folder.glob("waiting.*")]


def forget(folder: Path) -> None:
    for path in folder.glob("waiting.*"):
        path.unlink()


def lines(folder: Path, pattern: str) -> int:
    """The number of lines in the output of all runs and jobs whose beginning matches the pattern."""
    logs = [*folder.rglob("output.log"), *folder.rglob("*_log.out")]
    return sum(bool(re.match(pattern, line)) for log in logs for line in log.read_text().splitlines())


def test_arrays_are_split_failures_are_listed_and_slurm_knows_them(start, tmp_path):
    began = datetime.now().isoformat(timespec="seconds")
    scorers = "scorer._target_=faults.Plain,faults.Explodes"
    arguments = (*PACKED, "hydra.launcher.runs_per_job=1", *PRUNED, scorers, "seed=0,1")
    sweep = start(*arguments)
    assert sweep.end() == 1
    assert [row["seed"] for row in rows(tmp_path)] == [0, 1]
    listed = re.findall(r"RuntimeError: the scorer exploded; log: (.*)", sweep.err)
    assert len(set(listed)) == 2 and "2 of 4 runs have no result" in sweep.err
    assert all("Traceback" in Path(log).read_text() for log in listed)
    tasks = [path.name.split("_") for path in tmp_path.glob("runs/.submitit/*_[01]")]
    assert len({job for job, _ in tasks}) == 2 and sorted(task for _, task in tasks) == ["0", "0", "1", "1"]

    def states() -> list[str]:
        return sorted(said("sacct", "--noheader", "--allocations", "--format=state", "--starttime", began).split())

    wait_until(lambda: states() == ["COMPLETED", "COMPLETED", "FAILED", "FAILED"], f"SLURM's word, not {states()}")


def test_the_stock_job_shows_its_traceback_and_fails(start, tmp_path):
    sweep = start("hydra/launcher=slurm", *SMALL, *PRUNED, "scorer._target_=faults.Explodes,faults.Plain")
    assert sweep.end() == 1
    assert "RuntimeError: the scorer exploded" in sweep.err and len(rows(tmp_path)) == 1
    errors = [path.read_text() for path in tmp_path.rglob("*_log.err")]
    assert sum('raise RuntimeError("the scorer exploded")' in text for text in errors) == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("hydra/launcher=slurm", "hydra.launcher.tasks_per_node=2"), r"tasks_per_node=2: the trainer .* needs 1"),
        (("hydra/launcher=slurm", "trainer.devices=auto"), "trainer.devices=auto: allowed with .*: a number"),
        (("hydra/launcher=packed_slurm", "hydra.launcher.tasks_per_node=2"), "tasks_per_node=2: allowed: 1"),
        (("hydra/launcher=packed_slurm", "hydra.launcher.runs_per_job=0"), "runs_per_job=0: allowed: whole numbers"),
        (("hydra/launcher=packed_slurm", "scorer=snip,nosuch"), "scorer=nosuch: allowed:"),
    ],
)
def test_what_cannot_work_is_refused_before_submission(cluster, command, tmp_path, arguments, line):
    outcome = command("-m", f"results={tmp_path}", *PRUNED, *SMALL, *arguments)
    assert outcome.code == 1 and re.search(line, outcome.err.splitlines()[-1])
    assert not queue() and not (tmp_path / ".submitit").exists()


@pytest.mark.parametrize("launcher", ["packed_slurm", "slurm"])
def test_a_preempted_run_is_requeued_and_goes_on_from_its_checkpoint(start, tmp_path, launcher):
    arguments = (f"hydra/launcher={launcher}", *SMALL, *TRAINED, "seed=0")
    sweep = start(*arguments, WAIT_BEFORE="metrics.csv")
    wait_until(lambda: waiting(tmp_path) and list(tmp_path.rglob("last.ckpt")), "the second epoch")
    forget(tmp_path)
    said("srun", "--partition=urgent", "--cpus-per-task=8", "--job-name=urgent", "true")
    (tmp_path / "go").touch()
    assert sweep.end() == 0, sweep.err
    assert len(rows(tmp_path)) == 1 and attempts(tmp_path) == [2]
    assert lines(tmp_path, "epoch 1/2") == 1 and lines(tmp_path, "scoring 1/1") == 1  # neither is repeated
    (metrics,) = tmp_path.rglob("metrics.csv")
    assert len(metrics.read_text().splitlines()) == 3
    assert not torn(tmp_path) and not list(tmp_path.rglob("last.ckpt"))


def test_the_time_limit_requeues_as_often_as_allowed_and_is_then_reported(start, tmp_path):
    limits = ("hydra.launcher.timeout_min=5", "hydra.launcher.max_num_timeout=1")
    arguments = (*PACKED, *PRUNED, *limits, "scorer._target_=faults.Waits", "seed=0,1")
    sweep = start(*arguments)
    for attempt in (1, 2):
        wait_until(lambda: len(waiting(tmp_path)) == 2, "two runs at work")
        assert attempts(tmp_path) == [attempt, attempt]
        forget(tmp_path)
        (job,) = {line.split()[0] for line in queue()}
        said("scontrol", "update", f"JobId={job}", "TimeLimit=1")  # less than signal_delay_s, so SLURM sends its signal
        if attempt == 1:
            wait_until(lambda job=job: f"{job} PENDING" in queue(), "the requeue")
            said("scontrol", "update", f"JobId={job}", "TimeLimit=5")
    assert sweep.end() == 1
    assert "2 of 2 runs have no result" in sweep.err
    (tmp_path / "go").touch()
    again = start(*arguments)
    assert again.end() == 0, again.err
    assert [row["seed"] for row in rows(tmp_path)] == [0, 1] and attempts(tmp_path) == [3, 3]


def test_a_node_that_is_lost_and_comes_back_runs_its_job_again(start, cluster, tmp_path):
    sweep = start(*PACKED, *PRUNED, "scorer._target_=faults.Waits", "seed=0")
    wait_until(lambda: waiting(tmp_path), "the run")
    (process,) = waiting(tmp_path)
    forget(tmp_path)
    os.kill(int((ROOT / "run/slurmd.pid").read_text()), signal.SIGKILL)
    for lost in [process, *ancestors(process)]:
        os.kill(lost, signal.SIGKILL)
    wait_until(lambda: "down" in said("sinfo", "--noheader", "--format=%T"), "SLURM to miss the node")
    cluster()
    (tmp_path / "go").touch()
    assert sweep.end() == 0, sweep.err
    assert len(rows(tmp_path)) == 1 and attempts(tmp_path) == [2]


def ancestors(process: int) -> list[int]:
    """The processes above this one, up to SLURM's own for the job step."""
    found = []
    while "slurmstepd" not in Path(f"/proc/{process}/comm").read_text():
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        assert process > 1
        found.append(process)
    return found


def test_the_controller_may_go_away_and_a_second_launcher_is_refused(start, cluster, tmp_path):
    arguments = (*PACKED, *PRUNED, "scorer._target_=faults.Waits", "seed=0")
    sweep = start(*arguments)
    wait_until(lambda: waiting(tmp_path), "the run")
    second = start(*arguments)
    assert second.end() == 1 and f"process {sweep.popen.pid} on" in second.err
    os.kill(int((ROOT / "run/slurmctld.pid").read_text()), signal.SIGKILL)
    (tmp_path / "go").touch()
    wait_until(lambda: rows(tmp_path), "the result")
    with pytest.raises(subprocess.TimeoutExpired):
        sweep.popen.wait(45)  # squeue fails meanwhile, which does not mean that jobs have ended
    cluster()
    assert sweep.end() == 0, sweep.err
    assert attempts(tmp_path) == [1]


def test_a_killed_launcher_leaves_its_jobs_which_are_not_submitted_twice(start, tmp_path):
    arguments = (*PACKED, *PRUNED, "scorer._target_=faults.Waits", "seed=0")
    first = start(*arguments)
    wait_until(lambda: waiting(tmp_path), "the run")
    first.kill()
    second = start(*arguments)
    assert second.end() == 1
    assert re.search(r"1 SLURM jobs of this sweep are active \(.*\); wait, or scancel --name=prune_init-", second.err)
    (tmp_path / "go").touch()
    wait_until(lambda: not queue(), "the job's end")
    third = start(*arguments)
    assert third.end() == 0, third.err
    assert "1 runs, 1 of them finished" in third.out and attempts(tmp_path) == [1]


def test_each_task_of_a_job_is_a_rank_of_its_run(start, tmp_path):
    run = ("architecture=mlp", "scorer=snip", "recipe.epochs=1", "recipe.batch_size=1000")
    sweep = start("hydra/launcher=slurm", *SMALL, *run, "trainer=ddp", "trainer.accelerator=cpu", "seed=0")
    assert sweep.end() == 0, sweep.err
    assert len(rows(tmp_path)) == 1 and attempts(tmp_path) == [1]
    errors = "".join(path.read_text() for path in tmp_path.rglob("*_log.err"))
    assert "MEMBER: 1/2" in errors and "MEMBER: 2/2" in errors
