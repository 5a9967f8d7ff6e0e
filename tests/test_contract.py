"""One-line errors of the subcommands, and for bad environment variables and machines; see also test_refusals."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch
from conftest import Outcome


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start every command in an empty folder."""
    monkeypatch.chdir(tmp_path)


def refuses(outcome: Outcome, line: str, folder: Path) -> None:
    assert outcome.err.startswith(line)
    assert outcome.err.count("\n") == 1 and outcome.err.endswith("\n"), outcome.err
    assert "Traceback" not in outcome.out and outcome.code in (1, 2)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "arguments", "line"),
    [
        ("PRUNE_INIT_DATA", "/nowhere", "dataset=mnist", "dataset.root=/nowhere: MNIST is not in /nowhere/MNIST/raw"),
        ("PRUNE_INIT_DATA", "/proc", "dataset=cifar10 dataset.download=true", "root=/proc: cannot be written to ("),
        ("WANDB_MODE", "oflin", "logger=wandb", "logger.mode=oflin: did you mean offline? allowed: "),
    ],
)
def test_variables_count_as_well(command, tmp_path, monkeypatch, name, value, arguments, line):  # type: ignore[no-untyped-def]
    monkeypatch.setenv(name, value)
    refuses(command(*arguments.split()), line, tmp_path)


SMALL = {
    "analysis.conservation --architecture resnet81": "--architecture=resnet81: did you mean resnet18? allowed: ",
    "analysis.conservation --mode traim": "--mode=traim: did you mean train? allowed: eval, train",
    "analysis.conservation --steps -1": "--steps=-1: allowed: whole numbers from 0",
    "analysis.conservation --seed x": "argument --seed: x: allowed: whole numbers from 0",
    "analysis.collapse --seed 4294967296": "argument --seed: 4294967296: allowed: whole numbers from 0 to 4294967295",
    "analysis.conservation --num-classes 7": "dataset.num_classes=7: the data set has 10",
    "analysis.conservation --architecture vgg16 --input-shape 3 8 8": "architecture.input_shape=[3, 8, 8]",
    "analysis.collapse --scorers synflo": "--scorers=synflo: did you mean synflow? allowed: ",
    "analysis.collapse --iterations 0": "argument --iterations: 0: allowed: whole numbers from 1",
    "analysis.cost --clases 3": "--clases: unknown option; did you mean --datasets? allowed: --datasets, --help, -h",
    "analysis.cost datasets": "datasets: unknown argument; ",
    "analysis.published --exponents 9": "--exponents=9.0: did you mean 6.0? allowed: 0.5, 1.0, ",
    "analysis.published --seeds 0": "argument --seeds: 0: allowed: whole numbers from 1",
    "data.download cifar": "name=cifar: did you mean cifar10? allowed: cifar10, ",
    "data.download": "the following arguments are required: name",
    "data.download imagenet": "ImageNet needs an account at https://image-net.org",
    "data.download mnist --root /proc/x": "root=/proc/x: cannot be written to (",
    "data.download mnist --root . --url nonsense": "url=nonsense",
    "benchmark.collect nowhere": "folder=nowhere: ",
    "benchmark.estimate scorer=synflo": "scorer=synflo: did you mean synflow? allowed: ",
    "benchmark.estimate experiment=figure9": "experiment=figure9: did you mean figure6? allowed: ",
    "benchmark.estimate sparcity=0.5": "sparcity=0.5: unknown key; did you mean sparsity? allowed: ",
    "benchmark.estimate recipe.epochs=0": "recipe.epochs=0: allowed: whole numbers from 1",
    "benchmark.estimate experiment=figure1,figure6": "experiment=figure1,figure6: allowed: one preset at a time",
    "benchmark.estimate architecture=mlp scorer=magnitude exponent=2 compact=true": "model=Sequential: no path leads",
    "benchmark.estimate trainer=ddp": "trainer.devices=2: allowed: 1; ",
    "benchmark.estimate seed=range(3,0)": "seed=range(3,0): gives no value; allowed: at least one",
    "benchmark.estimate --step 0": "argument --steps: 0: allowed: whole numbers from 1",
    "benchmark.estimate dataset=folder dataset.root=x dataset.num_classes=2": "dataset.root=x: ",
    "benchmark.replication nowhere": "folder=nowhere: is not a folder",
    "benchmark.replication .": "folder=.: holds no run that has trained for an epoch",
    "report.replication nowhere": "folder=nowhere: holds no cell.json; ",
    "benchmark.speed.__main__ --cases synflo vgg17": "--cases=vgg17: ",
    "benchmark.status nowhere": "folder=nowhere: ",
}


@pytest.mark.parametrize("arguments", SMALL)
def test_small_commands_too(tmp_path, monkeypatch, capsys, arguments):  # type: ignore[no-untyped-def]
    module, *rest = arguments.split()
    monkeypatch.setattr(sys, "argv", [module, *rest])
    code: int | str | None = None
    try:
        code = import_module(f"prune_init.{module}").main()
    except SystemExit as stop:
        code = stop.code
    told = f"{code}\n" if isinstance(code, str) else capsys.readouterr().err
    lines = [line for line in told.splitlines(keepends=True) if not line.startswith("fetching ")]
    refuses(Outcome(1 if isinstance(code, str) else code or 0, "", "".join(lines)), SMALL[arguments], tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU where there is none")
def test_a_gpu_that_is_not_there(command: Callable[..., Outcome], tmp_path: Path) -> None:
    refuses(command("trainer.accelerator=gpu"), "trainer.accelerator=gpu: No supported gpu backend found!", tmp_path)
