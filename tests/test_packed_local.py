"""hydra/launcher=packed_local: runs work in parallel, once each, and the same command completes a failed sweep."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sweeping import FAULTS, PRUNED, TRAINED, Sweep, attempts, rows, torn, wait_until

from prune_init.errors import InputError
from prune_init.explain import one_line
from prune_init.launching.lock import locked
from prune_init.launching.plan import Planned
from prune_init.launching.report import RunFailedError, returns
from prune_init.launching.workers import share

HOLD = """
import subprocess, sys, time
from pathlib import Path
from prune_init.launching.lock import locked
with locked(Path(sys.argv[1])) as lock:
    child = subprocess.Popen(["sleep", "600"], pass_fds=[lock], stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    time.sleep(600)
"""
PACKED = ("hydra/launcher=packed_local", "hydra.launcher.workers=2")


@pytest.fixture
def packed(command, tmp_path, monkeypatch):
    """A sweep whose launcher is this process, with runs in other processes."""
    monkeypatch.syspath_prepend(str(FAULTS))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAULTS), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("FAULTS", str(tmp_path))

    def run(*arguments, results=tmp_path / "runs"):
        return command("-m", f"results={results}", *PACKED, *arguments)

    return run


@pytest.mark.parametrize(
    ("slot", "devices", "expected"),
    [(0, 1, "0"), (3, 1, "3"), (4, 1, "0"), (6, 1, "2"), (0, 2, "0,1"), (1, 2, "2,3"), (2, 2, "0,1"), (5, 3, "0,1,2")],
)
def test_gpus_go_round(slot, devices, expected):
    assert share(["0", "1", "2", "3"], slot, devices) == {"CUDA_VISIBLE_DEVICES": expected}


def test_runs_with_more_devices_than_there_are_keep_what_they_see():
    assert share([], 0, 1) == share(["0"], 1, 2) == share(["0"], 0, None) == {}


def test_the_second_launcher_is_refused_until_the_first_has_gone(tmp_path):
    refused = pytest.raises(InputError, match=f"process {os.getpid()} on .* wait for them, or end them")
    with locked(tmp_path), refused, locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_the_lock_of_a_killed_launcher_is_stale_unless_its_runs_live(tmp_path):
    launcher = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert launcher.stdout is not None
    child = int(launcher.stdout.readline())
    launcher.kill()
    launcher.communicate()
    with pytest.raises(InputError, match=f"process {launcher.pid} on"), locked(tmp_path):
        pass
    os.kill(child, signal.SIGKILL)

    def free() -> bool:
        try:
            with locked(tmp_path):
                return True
        except InputError:
            return False

    wait_until(free, "the lock")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("hydra.launcher.workers=0",), "hydra.launcher.workers=0: allowed: whole numbers from 1"),
        (("seed=0,1", "hydra.sweep.subdir=same"), "two runs would share it"),
        (("nosuch=1,2",), "nosuch"),
        (("scorer=snip,nosuch",), "scorer=nosuch: allowed:"),
    ],
)
def test_what_cannot_work_is_refused_before_any_run(packed, tmp_path, arguments, line):
    outcome = packed(*PRUNED, *arguments)
    assert outcome.code == 1 and line in outcome.err.splitlines()[-1]
    assert not list(tmp_path.rglob("status.json"))


@pytest.mark.parametrize("launcher", ["slurm", "packed_slurm"])
def test_without_submitit_a_line_says_what_to_install(tmp_path, launcher):
    without = "import sys; sys.modules['hydra_plugins.hydra_submitit_launcher'] = None; "
    code = without + "from prune_init.__main__ import main; main()"
    command = [sys.executable, "-c", code, "-m", f"hydra/launcher={launcher}", "seed=0,1", f"results={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"hydra/launcher={launcher}: needs: pip install 'prune_init[slurm]'\n"


@pytest.mark.parametrize("seeds", ["seed=0,1", "experiment=with_seeds"])
def test_the_last_line_of_a_failed_sweep_names_the_run_and_the_key_once(tmp_path, monkeypatch, seeds):
    monkeypatch.setattr(sys, "argv", ["prune-init", "-m", "scorer=snip", seeds, "sample.per_class=501"])
    run = Planned(tmp_path, "f" * 64, name="seed=0")
    (job,) = returns([run], {run: "sample.per_class=501: class 0 has only 500"})
    with pytest.raises(RunFailedError) as error:
        _ = job.return_value
    assert one_line(error.value) == "seed=0: sample.per_class=501: class 0 has only 500"


@pytest.mark.slow
def test_failures_are_listed_with_their_logs_and_the_others_finish(packed, tmp_path):
    """Also a run that leaves without a word: the process that started it goes on."""
    scorers = "scorer._target_=prune_init.scorers.magnitude.Magnitude,faults.Explodes,faults.Leaves"
    outcome = packed(*PRUNED, scorers, "seed=0,1")
    assert outcome.code == 1
    assert len(rows(tmp_path)) == 2 and attempts(tmp_path) == [1] * 6
    assert re.search(r"^.*: done, [0-9.]+ s$", outcome.out, re.M)
    assert re.search(r"^2 done, 4 failed, [0-9.:]+( s)?$", outcome.out, re.M)
    listed = [line for line in outcome.err.splitlines() if "RuntimeError: the scorer exploded; log: " in line]
    assert len(set(listed)) >= 2 and "4 of 6 runs have no result; the same command tries them again:" in outcome.err
    for line in listed:
        assert 'raise RuntimeError("the scorer exploded")' in Path(line.rpartition("log: ")[2]).read_text()
    assert len(set(re.findall(r"Leaves seed=[01]: on my way out; log: ", outcome.err))) == 2
    assert not list(tmp_path.rglob("last.ckpt"))  # checkpoint=true was not given


@pytest.mark.slow
def test_a_run_among_others_equals_one_of_its_own_bit_for_bit(packed, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.delenv("PL_GLOBAL_SEED")  # set by the fixture
    monkeypatch.delenv("PL_SEED_WORKERS")
    dense = (*TRAINED, "sparsity=0.5")
    alone = subprocess.run([sys.executable, "-m", "prune_init", f"results={tmp_path / 'alone'}", *dense, "seed=1"])
    assert alone.returncode == 0
    outcome = packed(*dense, "hydra.launcher.workers=1", "seed=0,1")
    assert outcome.code == 0, outcome.err
    ours = next((tmp_path / "runs").rglob("*-s1-*/result.json")).parent
    other = next((tmp_path / "alone").rglob("result.json")).parent
    masks, expected = (load_file(folder / "masks.safetensors") for folder in (ours, other))
    assert masks.keys() == expected.keys() and all(torch.equal(masks[name], expected[name]) for name in masks)
    one, two = (json.loads((folder / "result.json").read_text()) for folder in (ours, other))
    for key in ("identity", "top1", "top5", "layers", "versions", "commit"):
        assert one[key] == two[key], key
    assert one["device"]["threads"] == two["device"]["threads"] == 2
    measured = [[row.split(",")[:-1] for row in (f / "metrics.csv").read_text().splitlines()] for f in (ours, other)]
    assert measured[0] == measured[1]


@pytest.mark.slow
def test_without_their_server_runs_end_and_the_next_has_another(tmp_path):
    arguments = (*PACKED, *PRUNED, "scorer._target_=faults.Waits", "seed=0,1,2")
    sweep = Sweep(tmp_path / "runs", *arguments)
    wait_until(lambda: len(list(tmp_path.glob("waiting.*"))) == 2, "two runs at work")
    run, other = tmp_path.glob("waiting.*")
    os.kill(int(Path(f"/proc/{run.suffix[1:]}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
    wait_until(lambda: not alive(run) and not alive(other), "their end")
    (tmp_path / "go").touch()
    assert sweep.end() == 1
    assert "2 of 3 runs have no result" in sweep.err and "seed=1: killed by SIGKILL" in sweep.err
    assert [row["seed"] for row in rows(tmp_path)] == [2]


@pytest.mark.slow
def test_runs_that_are_killed_are_listed_and_go_on_with_their_masks(packed, tmp_path, monkeypatch):
    """Of six runs, five are killed, each at another moment: one while scoring, the others before a file is in place."""
    monkeypatch.setenv("DIE_BEFORE", "metrics.csv,last.ckpt,masks.safetensors,result.json")
    arguments = (*TRAINED, "scorer._target_=faults.Deadly", "seed=range(0,6)")
    outcome = packed(*arguments)
    assert outcome.code == 1
    assert outcome.err.count("killed by SIGKILL") >= 5 and "5 of 6 runs have no result" in outcome.err
    assert len(rows(tmp_path)) == 1 and len(list(tmp_path.glob("died.*"))) == 5
    again = packed(*arguments)
    assert again.code == 0, again.err
    assert [row["seed"] for row in rows(tmp_path)] == [*range(6)] and attempts(tmp_path) == [1, 2, 2, 2, 2, 2]
    assert not torn(tmp_path) and not list(tmp_path.rglob("last.ckpt"))
    for folder in (path.parent for path in tmp_path.rglob("result.json")):
        assert len((folder / "metrics.csv").read_text().splitlines()) == 3
        masks, row = load_file(folder / "masks.safetensors"), json.loads((folder / "result.json").read_text())
        assert {name: int(mask.sum()) for name, mask in masks.items()} == {
            layer["name"]: layer["kept"] for layer in row["layers"]
        }
        assert all(mask.dtype is torch.bool for mask in masks.values())


@pytest.mark.slow
def test_a_killed_launcher_leaves_its_runs_the_lock_and_nothing_runs_twice(tmp_path):
    arguments = (*PACKED, *PRUNED, "scorer._target_=faults.Waits", "seed=0,1,2")
    first = Sweep(tmp_path / "runs", *arguments)
    wait_until(lambda: len(list(tmp_path.glob("waiting.*"))) == 2, "two runs at work")
    first.kill()
    second = Sweep(tmp_path / "runs", *arguments)
    assert second.end() == 1
    assert f"process {first.popen.pid} on" in second.err and "wait for them, or end them" in second.err
    (tmp_path / "go").touch()
    wait_until(lambda: len(rows(tmp_path)) == 2, "the two orphans' results")
    wait_until(lambda: not any(alive(path) for path in tmp_path.glob("waiting.*")), "the orphans' end")
    third = Sweep(tmp_path / "runs", *arguments)
    assert third.end() == 0, third.err
    assert "3 runs, 2 of them finished" in third.out
    assert [row["seed"] for row in rows(tmp_path)] == [0, 1, 2] and attempts(tmp_path) == [1, 1, 1]


@pytest.mark.slow
def test_ctrl_c_ends_the_runs_too(tmp_path):
    sweep = Sweep(tmp_path / "runs", *PACKED, *PRUNED, "scorer._target_=faults.Waits", "seed=0,1,2")
    wait_until(lambda: len(list(tmp_path.glob("waiting.*"))) == 2, "two runs at work")
    sweep.popen.send_signal(signal.SIGINT)
    assert sweep.end() == 1 and sweep.err == "interrupted; run the same command again for what is missing\n"
    assert not any(alive(path) for path in tmp_path.glob("waiting.*"))


def alive(marker: Path) -> bool:
    """Whether the run that left this file is still running."""
    try:
        state = Path(f"/proc/{marker.suffix[1:]}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("cannot mount a tmpfs here")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.slow
def test_a_full_disk_fails_runs_but_tears_no_file(packed, small_disk):
    (small_disk / "ballast").write_bytes(bytes(880_000))
    arguments = (*TRAINED, "checkpoint=false", "seed=0,1")
    outcome = packed(*arguments, results=small_disk / "runs")
    assert outcome.code == 1
    left = rows(small_disk)
    assert f"{2 - len(left)} of 2 runs have no result" in outcome.err and "No space left on device" in outcome.err
    assert not torn(small_disk)
    (small_disk / "ballast").unlink()
    again = packed(*arguments, results=small_disk / "runs")
    assert again.code == 0, again.err
    assert [row["seed"] for row in rows(small_disk)] == [0, 1]
