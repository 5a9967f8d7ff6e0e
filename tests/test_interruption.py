"""Runs that end early, in real processes: never a success, resumed bit for bit, and only in their own folders."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from finished import assert_same, metrics
from torch import nn

from prune_init.architectures.conv import conv

RUN = (
    "architecture=conv",
    "architecture._target_=test_interruption.with_dropout",
    "architecture.widths=[4,8]",
    "dataset._target_=test_interruption.augmented",
    "sparsity=0.8",
    "iterations=3",
    "recipe.epochs=6",
    "recipe.batch_size=256",
    "validation=100",
    "trainer=cpu",
    "checkpoint=true",
    "weights=true",
)


def with_dropout(**options):  # type: ignore[no-untyped-def]
    """A net whose training draws from the global random state."""
    return nn.Sequential(conv(**options), nn.Dropout(0.3))


def augmented(**options):  # type: ignore[no-untyped-def]
    """The embedded images, cropped and flipped at random."""
    from dataclasses import replace

    from prune_init.data.augmentation import CropFlip
    from prune_init.data.fashion_small import fashion_small

    data = fashion_small(**options)
    return replace(data, train=replace(data.train, augmentation=CropFlip(2)))


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from prune_init.__main__ import main; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-u", "-c", code, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(folder: Path, *arguments: str) -> None:
    process = start(folder, *arguments)
    _, told = process.communicate()
    assert process.returncode == 0, told


def interrupt(folder: Path, word: str, number: int, *arguments: str) -> tuple[int, str]:
    """Send the signal when a line of the output begins with `word`; return the exit code and the rest of the output."""
    process = start(folder, *arguments)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            time.sleep(0.05)  # to interrupt the next piece of work
            process.send_signal(number)
            break
    _, told = process.communicate()
    return process.returncode, told


def record(folder: Path) -> Path:
    (status,) = folder.rglob("status.json")
    return status.parent


def ended_early(folder: Path) -> None:
    """Check that the run is recorded as failed, with no results and no partial files."""
    assert json.loads((folder / "status.json").read_text())["status"] == "failed"
    names = {path.name for path in folder.iterdir()}
    assert not names & {"result.json", "masks.safetensors", "weights.safetensors"}
    assert not [name for name in names if name.startswith("partial") or "tmp" in name]


@pytest.mark.slow
def test_a_run_that_is_stopped_and_resumed_ends_bit_for_bit_like_one_that_is_not(tmp_path: Path) -> None:
    finish(tmp_path, *RUN, "results=straight")
    for number, code, name in ((signal.SIGINT, 130, "SIGINT"), (signal.SIGTERM, 143, "SIGTERM")):
        # Twice in the same folder: the second time, the interrupted run is a resumed one.
        epoch = 2 if number == signal.SIGINT else 4
        got, told = interrupt(tmp_path, f"epoch {epoch}/", number, *RUN, "results=broken")
        broken = record(tmp_path / "broken")
        assert got == code
        line = f"stopped by {name}, without a result; the same command resumes after the last complete epoch\n"
        assert told.endswith(line) and "Traceback" not in told
        ended_early(broken)
        assert torch.load(broken / "last.ckpt", weights_only=True)["epoch"] >= epoch - 2
    finish(tmp_path, *RUN, "results=broken")
    straight = record(tmp_path / "straight")
    assert [row["epoch"] for row in metrics(straight)] == list("123456")
    assert metrics(broken) == metrics(straight)
    assert_same(straight, broken, "masks", "weights")
    results = [json.loads((folder / "result.json").read_text()) for folder in (straight, broken)]
    for key in ("identity", "top1", "top5", "layers", "effective_sparsity", "config"):
        assert results[0][key] == results[1][key], key


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_while_scoring_too(tmp_path: Path, number: int, code: int) -> None:
    got, told = interrupt(tmp_path, "scoring 20/", number, *RUN, "iterations=200")
    assert got == code and told.endswith("without a result; the same command starts again\n"), told
    ended_early(record(tmp_path))


def test_a_foreign_checkpoint_is_not_resumed(command, tmp_path):  # type: ignore[no-untyped-def]
    quick = ("architecture=mlp", "scorer=random", "recipe.epochs=1", "trainer=cpu", "hydra.run.dir=mine")
    (tmp_path / "mine").mkdir()
    torch.save({"identity": "somebody else's", "state_dict": {}}, tmp_path / "mine/last.ckpt")
    before = (tmp_path / "mine/last.ckpt").read_bytes()
    for more in (["checkpoint=true"], ["checkpoint=true", "force=true"], ["checkpoint=false"]):
        outcome = command(*quick, *more)
        assert outcome.code == 1 and outcome.err.count("\n") == 1
        assert outcome.err.startswith("hydra.run.dir=mine: its last.ckpt belongs to another configuration")
    (tmp_path / "mine/last.ckpt").write_bytes(before[:100])
    outcome = command(*quick, "checkpoint=true")
    assert outcome.code == 1 and outcome.err.count("\n") == 1
    assert outcome.err.startswith("checkpoint=mine/last.ckpt: is damaged (")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["last.ckpt"]
    assert (tmp_path / "mine/last.ckpt").read_bytes() == before[:100]


@pytest.mark.slow
def test_many_prunings_need_the_memory_of_a_few() -> None:
    code = """
import ctypes, gc, torch, prune_init
from torch import nn
def once(seed, scorer):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 36, 300),
                        nn.ReLU(), nn.Linear(300, 10))
    data = [(torch.randn(16, 3, 8, 8), torch.arange(16) % 10)]
    result = prune_init.prune(net, scorer, 0.9, iterations=2, input_shape=(3, 8, 8), data=data)
    result.keep(torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9))
def memory():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free, though in pieces, is not needed
    return int(open('/proc/self/statm').read().split()[1]) * 4096
scorers = prune_init.scorers()
for n in range(26): once(n, scorers[n % len(scorers)])
before = memory()
for n in range(75): once(n, scorers[n % len(scorers)])
print((memory() - before) // 2**20)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # One net is 1.4 MB: if each pruning left its net in memory, or its masks, this would be 105 MB or 26 MB.
    assert int(done.stdout) < 10
