"""status.json: it tells that a run ended without a result, however it ended."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from records import record

from prune_init.benchmark.status import progress
from prune_init.errors import InputError
from prune_init.launching import plan, plan_file
from prune_init.record import results
from prune_init.record import status as run_status

ME = "a" * 64
HOLD = """
import sys, time
from pathlib import Path
from prune_init.record import status as run_status
with run_status.recorded(Path(sys.argv[1]), "a" * 64, ["seed=1"]):
    print("began", flush=True)
    time.sleep(60)
"""


def status(folder: Path) -> dict:
    return json.loads((folder / "status.json").read_text())


def test_a_run_that_never_began_is_missing(tmp_path):
    assert run_status.state(tmp_path / "nowhere", ME) == "missing"
    assert run_status.state(tmp_path, ME) == "missing"


def test_inside_the_block_it_is_running_and_afterwards_the_result_decides(tmp_path):
    with run_status.recorded(tmp_path, ME, ["seed=1"]):
        assert run_status.state(tmp_path, ME) == "running"
        told = status(tmp_path)
    assert (told["schema"], told["status"], told["overrides"], told["attempt"]) == (1, "running", ["seed=1"], 1)
    assert (told["pid"], told["error"], told["log"]) == (os.getpid(), None, None)
    assert status(tmp_path)["status"] == "complete"
    assert run_status.state(tmp_path, ME) == "missing"  # the status alone does not mean success
    results.write(tmp_path, record(identity=ME))
    assert run_status.state(tmp_path, ME) == "done"
    assert {path.name for path in tmp_path.iterdir()} == {"status.json", "result.json"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ZeroDivisionError("a bug\nin two lines"), "ZeroDivisionError: a bug in two lines"),
        (InputError("dataset.root", "data", "not there"), "dataset.root=data: not there"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SystemExit(0), "SystemExit: 0"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_whatever_ends_a_run_early_is_a_failure_with_its_traceback(tmp_path, error, reason):
    with pytest.raises(type(error)), run_status.recorded(tmp_path, ME, []):
        raise error
    told = status(tmp_path)
    assert (told["status"], told["error"]) == ("failed", reason)
    assert "Traceback" in (tmp_path / told["log"]).read_text()
    assert run_status.state(tmp_path, ME) == "failed"
    assert run_status.state(tmp_path, "b" * 64) == "missing"


def test_a_second_attempt_is_counted_and_its_success_removes_the_log(tmp_path):
    with pytest.raises(OSError), run_status.recorded(tmp_path, ME, []):
        raise OSError("lost")
    with run_status.recorded(tmp_path, ME, []):
        pass
    assert status(tmp_path)["attempt"] == 2
    assert not (tmp_path / run_status.LOG).exists()


def test_further_ranks_of_a_run_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with run_status.recorded(tmp_path, ME, []):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_result_of_another_configuration_or_schema_is_refused(tmp_path):
    results.write(tmp_path, record(identity="b" * 64))
    with pytest.raises(InputError, match="another configuration"):
        run_status.state(tmp_path, ME)
    (tmp_path / "result.json").write_text('{"schema": 999}')
    with pytest.raises(InputError, match=r"result\.json: is not of schema 1"):
        run_status.state(tmp_path, ME)


def test_a_launcher_records_a_process_that_left_no_word(tmp_path):
    folder = tmp_path / "runs/one"
    run_status.fail(folder, ME, ["seed=3"], "killed by signal 9", tmp_path / "logs/one.log")
    told = status(folder)
    assert (told["status"], told["error"], told["log"]) == ("failed", "killed by signal 9", "../../logs/one.log")
    assert (told["overrides"], told["attempt"]) == (["seed=3"], 1)


def test_a_plan_that_cannot_be_opened_is_one_line(tmp_path):
    (tmp_path / ".sweeps/plan.jsonl").mkdir(parents=True)
    with pytest.raises(InputError, match=r"plan\.jsonl: is not the plan of a sweep .*; move it away"):
        progress(tmp_path)


def test_missing_runs_are_counted_from_the_folder_above_too(tmp_path):
    results.write(tmp_path, record(identity=ME))
    for name in ("first", "second"):
        runs = [plan.Planned(tmp_path / name / run, ME) for run in ("a", "b")]
        plan_file.write(tmp_path / name, runs, name)
        runs[0].folder.mkdir()
        results.write(runs[0].folder, record(identity=ME))
    counts = dict(progress(tmp_path).sweeps)
    assert counts.pop("runs outside of sweeps") == {"done": 1}
    assert counts == {name: {"done": 1, "missing": 1} for name in ("first", "second")}


def test_another_host_may_still_be_running(tmp_path):
    with run_status.recorded(tmp_path, ME, []):
        told = status(tmp_path)
    (tmp_path / "status.json").write_text(json.dumps({**told, "status": "running", "pid": 2**30, "host": "elsewhere"}))
    assert run_status.state(tmp_path, ME) == "running"


@pytest.mark.slow
def test_a_killed_run_is_failed_and_while_it_lives_nobody_else_may_run_there(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "began\n"
        assert run_status.state(tmp_path, ME) == "running"
        refused = pytest.raises(InputError, match=f"process {process.pid} on .* is running in it")
        with refused, run_status.recorded(tmp_path, ME, []):
            pass
        assert status(tmp_path)["pid"] == process.pid
        process.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 10
        while run_status.state(tmp_path, ME) == "running" and time.monotonic() < deadline:  # a zombie counts as dead
            time.sleep(0.05)
        assert run_status.state(tmp_path, ME) == "failed"
    with run_status.recorded(tmp_path, ME, []):
        assert status(tmp_path)["attempt"] == 2
