"""What a shell is told when it asks for something that cannot be: one line, naming key, value and what is allowed.

test_command.py has more of these, beside the runs that succeed.
"""

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch
from conftest import Outcome

TEXT, WORDS = "allowed: text", "allowed: patterns of weight names, or null"
MISTAKES = {
    # kinds of values at the root
    "checkpoint=foo": "checkpoint=foo: allowed: true, false",
    "weights=3": "weights=3: allowed: true, false",
    "train=null": "train=None: allowed: true, false",
    "results=": "results=: allowed: a folder",
    "include=3": f"include=3: {WORDS}",
    "exclude=[classifier.weight,3]": f"exclude=['classifier.weight', 3]: {WORDS}",
    "include=[]": "include=[]: leaves no weight to prune",
    "scope=null": "scope=None: allowed: global, layer",
    "mode=0": "mode=0: allowed: eval, train",
    "export=3": "export=3: allowed: onnx, pt2",
    "precision=16": "precision=16: allowed: 16-mixed, ",
    "seed=1.5": "seed=1.5: allowed: whole numbers from 0 to 4294967295",
    "seed=[0,1]": "seed=[0, 1]: allowed: whole numbers from 0",
    "iterations=true": "iterations=True: allowed: whole numbers from 1",
    "sparsity=98": "sparsity=98: allowed: 0 <= sparsity < 1",
    "sparsity=98%": "sparsity=98%: allowed: 0 <= sparsity < 1",
    "sparsity={a:1}": "sparsity={'a': 1}: allowed: 0 <= sparsity < 1",
    "exponent=[1]": "exponent=[1]: allowed: 0 and larger",
    # unknown keys, also where a + would add them
    "+nonsense=3": "nonsense=3: unknown key; ",
    "++sparcity=0.5": "sparcity=0.5: unknown key; did you mean sparsity? allowed: ",
    "+sample.per_clas=3": "sample.per_clas=3: unknown key; did you mean per_class? allowed: augment, ",
    "sample.batchsize=3": "sample.batchsize=3: unknown key; did you mean batch_size? allowed: augment, ",
    "+recipe.epoch=3": "recipe.epoch=3: unknown key; did you mean epochs? allowed: batch_size, ",
    "+lifecycle.level=1": "lifecycle.level=1: unknown key; allowed: name",
    "a.b.c=1": "a: unknown key; allowed: ",
    "scorer.iterations.x=3": "scorer.iterations.x=3: unknown key; allowed: nothing",
    "hydra.nonsense=1": "hydra.nonsense=1: unknown key; allowed: callbacks, ",
    # data sets
    "dataset=null": "dataset=null: allowed: KEY=VALUE, or GROUP=NAME",
    "dataset.name=null": f"dataset.name=None: {TEXT}",
    "dataset.name=../../x": "dataset.name=../../x: allowed: text that can name a folder below results",
    "dataset.num_classes=foo": "dataset.num_classes=foo: allowed: a number",
    "dataset.num_classes=0": "architecture.num_classes=0: must be at least 1",
    "dataset.input_shape=foo": "dataset.input_shape=foo: allowed: a list",
    "dataset.input_shape=[1,28,x]": "dataset.input_shape=[1, 28, 'x']: allowed: a list, each element a number",
    "dataset.input_shape=[1,28]": "architecture.input_shape=[1, 28]: give three integers",
    "dataset=mnist dataset.root=3": f"dataset.root=3: {TEXT}",
    "dataset=mnist dataset.download=foo": "dataset.download=foo: allowed: true, false",
    "dataset=cifar100": "dataset.root=data: CIFAR-100 is not in data/cifar-100-python; fetch it with: ",
    "dataset=imagenet": "dataset.root=data/imagenet: ImageNet is not there; it needs an account",
    # architectures
    "architecture.name=null": f"architecture.name=None: {TEXT}",
    "architecture.num_classes=3": "architecture=conv: gives 3 outputs for 10 classes; allowed: one per class",
    "architecture.widths=foo": "architecture.widths=foo: allowed: a list",
    "architecture.widths=[a,b]": "architecture.widths=['a', 'b']: allowed: a list, each element a number",
    "architecture.widths=[0]": "architecture.widths=0: must be at least 1",
    "+architecture.nonsense=3": "+architecture.nonsense=3: conv() got an unexpected keyword argument 'nonsense'",
    # scorers, schedules, ablations
    "scorer.mode=traim": "scorer.mode=traim: did you mean train? allowed: eval, train",
    "scorer.dtype=foo": "scorer.dtype=foo: allowed: keys below it",
    "scorer.dtype.path=torch.foo": "scorer.dtype.path=torch.foo: Error loading 'torch.foo': ",
    "scorer.dtype.path=torch.int8": "scorer.dtype.path=torch.int8: allowed: a floating-point type",
    "scorer=synflow_l2 scorer.power=foo": "scorer.power=foo: allowed: a number",
    "scorer=synflow_l2 scorer.power=3": "scorer.power=3: allowed: 1, 2",
    "scorer=grasp scorer.temperature=-1": "scorer.temperature=-1: allowed: numbers above 0",
    "schedule=null": "schedule=null: allowed: KEY=VALUE, or GROUP=NAME",
    "+schedule.nonsense=1": "+schedule.nonsense=1: ",
    "schedule._target_=os.getcwd": "schedule._target_=os.getcwd: fails for density 0.02, 100 iterations (",
    "schedule._target_=nowhere.at": "schedule._target_=nowhere.at: Error locating target",
    "ablation=shuffle +ablation.x=1": "ablation=shuffle +ablation.x=1: ",
    "ablation=foo": "ablation=foo: allowed: invert, none, reinitialise, shuffle",
    "lifecycle=lottery_ticket lifecycle.levels=1.5": "lifecycle.levels=1.5: allowed: whole numbers from 1",
    # recipes and Lightning's trainer
    "recipe.optimizer=null": "recipe.optimizer=None: allowed: keys below it",
    "recipe.scheduler=foo": "recipe.scheduler=foo: allowed: keys below it",
    "recipe.scheduler.T_max=0": "recipe.scheduler.T_max=0: torch.optim.lr_scheduler.CosineAnnealingLR refuses it",
    "recipe.optimizer.lr=nan": "recipe.optimizer.lr=nan: allowed: a finite number",
    "recipe.optimizer.lr=null": "recipe.optimizer.lr=None: allowed: a number",
    "recipe.optimizer.nesterof=3": "recipe.optimizer.nesterof=3: unknown key; did you mean nesterov? allowed: ",
    "trainer=cpu trainer.devices=99": "trainer=cpu trainer.devices=99: allowed without a GPU: 1 to ",
    "trainer.deterministic=foo": "trainer.deterministic=foo: allowed: false, true, warn",
    "trainer.benchmark=foo": "trainer.benchmark=foo: allowed: false, true, null",
    "trainer.gradient_clip_val=3": "trainer.gradient_clip_val=3: is set by recipe.gradient_clip",
    "+trainer.accumulate_grad_batches=0": "trainer.accumulate_grad_batches=0: allowed: whole numbers from 1",
    "+trainer.check_val_every_n_epoch=0": "trainer.check_val_every_n_epoch=0: allowed: whole numbers from 1",
    "+trainer.callbacks=[x]": "trainer.callbacks=['x']: is set by callbacks",
    "+trainer.enable_checkpointing=true": "trainer.enable_checkpointing=True: is set by checkpoint",
    "trainer.devices=0": "trainer.devices=0: allowed: whole numbers from 1, -1 or auto for all",
    "trainer.accelerator=gpus": "trainer.accelerator=gpus: did you mean gpu? allowed: auto, cpu, ",
    "+trainer.nonsense=3": "+trainer.nonsense=3: Trainer.__init__() got an unexpected keyword argument 'nonsense'",
    "logger=wandb logger.tags=foo": "logger.tags=foo: allowed: a list",
    "logger.project=x": "logger.project=x: unknown key; allowed: nothing",
    # the grammar of overrides, and Hydra's own options
    "sparsity": "sparsity: cannot be read (",
    "include=[a": "include=[a: cannot be read (",
    "=5": "=5: allowed: KEY=VALUE",
    "~sparsity": "sparsity: is missing; must be given",
    "~logger": "logger: is missing; must be given",
    "~recipe.optimizer": "recipe.optimizer: is missing; must be given",
    "~scorer._target_": "scorer._target_: is missing; must be given",
    "scorer=[synflow,snip]": "scorer=[synflow,snip]: allowed: one choice; a sweep tries several: ",
    "+sparsity=0.5": "Could not append to config. An item is already at 'sparsity'.",
    "hydra.run.dir=null": "Error merging override hydra.run.dir=null: ",
    "sparsity=${nonsense}": "Interpolation key 'nonsense' not found",
    "seed=0,1": "Ambiguous value for argument 'seed=0,1'",
    "--nonsense": "--nonsense: unknown option; ",
    "--resolve": "The --resolve flag can only be used in conjunction with",
    "--run -m": "Only one of --run, --multirun, ",
    "--experimental-rerun nowhere": "File nowhere does not exist!",
    "--config-name nowhere": "Cannot find primary config 'nowhere'.",
    # sweeps
    "-m seed=range(3,0)": "seed=range(3,0): gives no value; allowed: at least one",
    "-m seed=range(a,b)": "seed=range(a,b): cannot be read (",
    "-m recipe.epochs=1,foo": "recipe.epochs=foo: allowed: a number",
    "-m architecture=mlp,foo": "architecture=foo: allowed: conv, mlp, ",
    "-m sparcity=0.1,0.2": "sparcity=0.1,0.2: unknown key; did you mean sparsity? allowed: ",
    "-m hydra/launcher=packed_local hydra.launcher.workers=0": "hydra.launcher.workers=0: allowed: whole numbers ",
    "-m hydra/launcher=packed_slurm force=true": "force=true: with hydra/launcher=packed_slurm a requeued run would ",
    "-m seed=range(0,3,0)": "seed=range(0,3,0): cannot be read (range() arg 3 must not be zero)",
    "-m experiment=figure1,figure6": "experiment=figure1,figure6: allowed: one at a time; most are sweeps themselves",
    "experiment=figure1": "dataset.root=data: CIFAR-100 is not in data/cifar-100-python; fetch it with: ",
    "scorer=snip -m seed=0,1": "seed=0,1: stands apart from the other KEY=VALUEs; allowed: -m before or after all",
    "hydra.searchpath=[file://nowhere]": "provider=hydra.searchpath in command-line, path=nowhere is not available.",
    "-m dataset=mnist,cifar10 seed=0,1": "dataset.root=data: MNIST is not in data/MNIST/raw; fetch it with: ",
    "-m seed=0,1 hydra.sweep.dir=/proc/x": "hydra.run.dir=/proc/x: cannot be written to (",
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command starts in an empty folder."""
    monkeypatch.chdir(tmp_path)


def refuses(outcome: Outcome, line: str, folder: Path) -> None:
    assert outcome.err.startswith(line)
    assert outcome.err.count("\n") == 1 and outcome.err.endswith("\n"), outcome.err
    assert "Traceback" not in outcome.out and outcome.code in (1, 2)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("arguments", MISTAKES)
def test_one_line_and_nothing_written(command: Callable[..., Outcome], tmp_path: Path, arguments: str) -> None:
    refuses(command(*arguments.split()), MISTAKES[arguments], tmp_path)


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
    "analysis.conservation --num-classes 7": "dataset.num_classes=7: is 10 here",
    "analysis.collapse --scorers synflo": "--scorers=synflo: did you mean synflow? allowed: ",
    "analysis.collapse --iterations 0": "argument --iterations: 0: allowed: whole numbers from 1",
    "analysis.cost --clases 3": "--clases: unknown option; did you mean --datasets? allowed: --datasets, --help, -h",
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
    "benchmark.estimate experiment=figure1,figure6": "experiment=figure1,figure6: allowed: one at a time",
    "benchmark.estimate architecture=mlp scorer=magnitude exponent=2 compact=true": "model=Sequential: no path leads",
    "benchmark.estimate trainer=ddp": "trainer.devices=2: allowed: 1; ",
    "benchmark.estimate seed=range(3,0)": "overrides=seed=range(3,0): give no run; allowed: at least one",
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        ("++sparcity=0.5", []),
        ("-m seed=range(3,0)", []),
        ("dataset=cifar100", ["torch"]),
        ("trainer=cpu trainer.devices=99", ["torch"]),
    ],
)
def test_a_refusal_does_not_wait_for_what_it_does_not_need(tmp_path: Path, arguments: str, needed: list[str]) -> None:
    """Seconds of importing are the price of a run, not of a typo; what is imported is counted, not the time."""
    code = (
        f"import runpy, sys; sys.argv = ['prune-init', *{arguments.split()}]\n"
        "try: runpy.run_module('prune_init', run_name='__main__')\n"
        "except SystemExit as stop: print(stop.code, file=sys.stderr)\n"
        "heavy = ('torch', 'torch._dynamo', 'torchvision', 'pytorch_lightning', 'wandb')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == f"{needed}\n"
    refuses(Outcome(1, done.stdout, done.stderr), MISTAKES[arguments], tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU where there is none")
def test_a_gpu_that_is_not_there(command: Callable[..., Outcome], tmp_path: Path) -> None:
    refuses(command("trainer.accelerator=gpu"), "trainer.accelerator=gpu: No supported gpu backend found!", tmp_path)
