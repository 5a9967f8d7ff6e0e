"""Errors for impossible commands: one line with the key, the value and what is allowed."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Outcome
from omegaconf import OmegaConf
from torch import nn

from prune_init import InputError
from prune_init.record.schema import SCHEMA
from prune_init.swept_groups import as_typed

KINDS = {  # one wrong value of each kind, and the message
    "sparsity=1.0": "sparsity=1.0: allowed: 0 <= sparsity < 1, the fraction of weights to remove",
    "exponent=2 sparsity=0.5": "exponent=2: disagrees with sparsity=0.5; give one of the two",
    "seed=4294967296": "seed=4294967296: allowed: whole numbers from 0 to 4294967295",
    "scope=globl": "scope=globl: did you mean global? allowed: global, layer",
    "exclude=[nonsense.*]": "exclude=nonsense.*: matches no prunable weight; allowed: patterns of ",
    "trainer=cpu trainer.devices=99": "trainer=cpu trainer.devices=99: allowed without a GPU: 1 to ",
    "+trainer.max_epochs=3": "trainer.max_epochs=3: is set by recipe.epochs",
    "+trainer.fast_dev_run=true": "trainer.fast_dev_run=true: would record a few steps as a whole run",
    "lifecycle=lottery_ticket compact=true": "compact=true: lifecycle=lottery_ticket works with compact=false only",
    "target=effective ablation=shuffle": "ablation=shuffle: target=effective works with ablation=none only",
    "recipe.optimizer.lr=foo": "recipe.optimizer.lr=foo: allowed: a number",
    "recipe.optimizer.lr=nan": "recipe.optimizer.lr=nan: allowed: a finite number",
    "recipe.optimizer.momentum=-1": "recipe.optimizer.momentum=-1: is refused (Invalid momentum",
    "dataset.input_shape=[1,28,x]": "dataset.input_shape=[1, 28, 'x']: allowed: a list, each element a number",
    "architecture.name=../../x": "architecture.name=../../x: allowed: text that can name a folder below results",
    "architecture.num_classes=3": "architecture.num_classes=3: gives 3 outputs for 10 classes; allowed: one",
    "architecture=mlp architecture.input_shape=[1,32,32]": "architecture=mlp architecture.input_shape=",
    "architecture=vgg16_tiny": "architecture.input_shape=[1, 28, 28]: ",
    "architecture._target_=test_refusals.no_weights": "model=Flatten: has no Conv or Linear weight to prune",
    "architecture._target_=nowhere.net": "architecture._target_=nowhere.net: Error loading 'nowhere.net': ",
    "schedule._target_=os.getcwd": "schedule._target_=os.getcwd: fails for density 0.02, 100 iterations (",
    "scorer=synflow_l2 scorer.power=3": "scorer.power=3: allowed: 1, 2",
    "scorer.dtype.path=torch.int8": "scorer.dtype=torch.int8: allowed: a floating-point type",
    "scorer=snip sample.per_class=501": "sample.per_class=501: class 0 has only 500 training images",
    "architecture=vgg11 recipe.batch_size=4999": "recipe.batch_size=4999: the last batch of 5,000 images has one image",
    "callbacks=lr_monitor": "callbacks.lr_monitor=LearningRateMonitor: needs a dashboard: logger=tensorboard or",
    "callbacks=swa callbacks.swa.swa_epoch_start=7": "callbacks.swa.swa_epoch_start=7: allowed: up to recipe.epochs, 6",
    "dataset=cifar100": "dataset.root=data: CIFAR-100 is not in data/cifar-100-python; fetch it with: ",
    "dataset=folder": "dataset.root=???: has no default; must be given",
    # names
    "scorer=synflo": "scorer=synflo: did you mean synflow? allowed: force, ",
    "scorer=[synflow,snip]": "scorer=[synflow,snip]: allowed: one choice; a sweep tries several: -m GROUP=A,B",
    "dataset=null": "dataset=null: Config group override must be a string",
    "sparcity=0.9": "sparcity=0.9: unknown key; did you mean sparsity? allowed: ",
    "recipe.epoch=3": "recipe.epoch=3: unknown key of recipe=quick; did you mean epochs? allowed: batch_size, ",
    "epochs=3": "epochs=3: unknown key; did you mean recipe.epochs?",
    "lr=0.1": "lr=0.1: unknown key; did you mean recipe.optimizer.lr?",
    "optimizer=adam": "optimizer=adam: unknown key; did you mean recipe.optimizer?",
    "batch_size=64": "batch_size=64: unknown key; did you mean recipe.batch_size or sample.batch_size?",
    "++sparcity=0.5": "sparcity=0.5: unknown key; did you mean sparsity? allowed: ",
    "~recipe.optimizer": "recipe.optimizer=???: is missing; must be given",
    # Hydra's own
    "include=[a": "include=[a: no viable alternative at input",
    "seed=0,1": "seed=0,1: Ambiguous value for argument 'seed=0,1'",
    "seed=range(0,3)": "seed=range(0,3): Sweep parameters 'seed=range(0,3)' requires",
    "--nonsense": "--nonsense: unknown option; ",
    "--config-name nowhere": "nowhere: Cannot find primary config 'nowhere'.",
    "hydra.searchpath=[file://nowhere]": "hydra.searchpath=[file://nowhere]: provider=",
    # sweeps
    "-m seed=range(3,0)": "seed=range(3,0): gives no value; allowed: at least one",
    "-m seed=range(0,3,0)": "seed=range(0,3,0): cannot be read (range() arg 3 must not be zero)",
    "-m experiment=figure1,figure6": "experiment=figure1,figure6: allowed: one preset at a time; most are ",
    "experiment=figure1": "dataset.root=data: CIFAR-100 is not in data/cifar-100-python; fetch it with: ",
    "-m hydra/launcher=packed_slurm force=true": "force=true: with hydra/launcher=packed_slurm a requeued run would ",
    "-m seed=0,1 hydra.sweep.dir=/proc/x": "hydra.run.dir=/proc/x: cannot be written to (",
    "-m scorer=grasp,snip scorer.temperature=1.0": "scorer.temperature=1.0: unknown key of scorer=snip; allowed: ",
}

UNFIT = {
    "masks": (7, ""),
    "exponent": (400, -1, [1]),
    "sparsity": (1.0, math.nan, None, True, "98%", {"a": 1}),
    "target": ("efective", None),
    "iterations": (0, 1.5, True),
    "mode": (0, "traim"),
    "include": (3, OmegaConf.create(["classifier.weight", 3])),
    "precision": (16, "32"),
    "results": ("", 3, None),
    "weights": (3, "yes"),
    "export": ("onxx",),
    "dataset.root": (3, ""),
    "compile": (1, "fast", None),
    "train": (None, "false"),
    "architecture.name": (None, "", "../../x", "x/.."),
    "recipe.epochs": (0, None),
    "recipe.gradient_clip": (-1, 0, "1"),
    "recipe.drop_last": ("maybe", 1),
    "logger.mode": ("ofline",),
    "trainer.accelerator": ("gpus",),
    "trainer.devices": (0, -2, True, "all", OmegaConf.create([])),
    "trainer.deterministic": ("foo",),
    "trainer.benchmark": ("foo", 1),
    "trainer.max_steps": (0, -2, "many"),
}
"""Values that the schema does not allow."""

MORE = """
sparsity={a:1}
scorer.mode=traim
validation=99999
include=[]
recipe.drop_last=maybe
recipe.batch_size=5001 recipe.drop_last=true
architecture=vgg11 recipe.batch_size=1
architecture=vgg11 scorer=grasp sample.batch_size=99
architecture=vgg11 scorer=snip mode=train sample.batch_size=1
recipe.scheduler=foo
recipe.optimizer.nesterof=3
precision=16-mixed
recipe=quick_adamw +recipe.optimizer.eps=0
precision=bf16-mixed recipe.gradient_clip=1 +recipe.optimizer.fused=true
recipe.scheduler._target_=test_refusals.NoScheduler
lifecycle=lottery_ticket lifecycle.rewind_epoch=6
lifecycle=lottery_ticket callbacks=ema
callbacks=[ema,swaa]
callbacks=ema callbacks.ema.decay=2
callbacks=ema callbacks.ema.decay=much
callbacks=ema +callbacks.ema.deca=0.5
+callbacks.mine._target_=torch.nn.ReLU
+callbacks.mine._target_=pytorch_lightning.callbacks.ModelCheckpoint
callbacks=early_stopping
callbacks=early_stopping callbacks.early_stopping.monitor=test/los
callbacks=swa recipe.epochs=2
loss.label_smoothing=2
loss=class_weights
loss=class_weights loss.weights=[1,2]
loss._target_=torch.nn.functional.softmax
lifecycle=lottery_ticket +trainer.max_steps=9
+trainer.limit_train_batches=0
+trainer.nonsense=3
trainer.gradient_clip_val=3
logger=wandb logger.tags=foo
logger.project=x
dataset.num_classes=7
architecture.widths=[0]
architecture=torchvision architecture.model=resnet81
dataset.input_shape=[3,8,8] architecture=torchvision architecture.model=squeezenet1_1
+architecture.nonsense=3
+schedule.nonsense=1
ablation=shuffle +ablation.x=1
a.b.c=1
+sample.per_clas=3
+lifecycle.level=1
hydra.nonsense=1
hydra.run.dir=null
~sparsity
=5
method=[snip,synflow]
scorer=snip --cfg job exponent=2
callbacks.ema.decay=0.5
-m scorer=random,synflo
-m scorer=random,snip seed=0,foo
-m target=nominal,effective ablation=none,shuffle
-m scorer=grasp,grasp_official scorer.temperature=hot
-m hydra/launcher=packed_local hydra.launcher.workers=0
""".strip().splitlines()


class NoScheduler:
    """Has steps as schedules have, but is none of torch's, which Lightning requires."""

    def __init__(self, optimizer: torch.optim.Optimizer, **_: Any) -> None:
        self.optimizer = optimizer

    def step(self) -> None:
        """Do nothing."""


def no_weights(**_: Any) -> nn.Module:
    """A user's architecture without prunable weights."""
    return nn.Flatten()


class Reading(nn.Module):
    """Reads tensor values when it is built and when it is used, as stochastic depth does."""

    def __init__(self, num_classes: int = 10, **_: Any) -> None:
        super().__init__()
        self.rates = torch.linspace(0, 0.1, 3).tolist()
        self.width = int(torch.tensor(28).item())
        self.layer = nn.Linear(784, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        kept = torch.rand(()).item() < 2 and images.detach().cpu().numpy().shape[-1] == self.width
        return self.layer(images.flatten(1)) if kept else images


@pytest.mark.parametrize("arguments", [*KINDS, *MORE])
def test_one_line_and_nothing_written(command: Callable[..., Outcome], tmp_path: Path, arguments: str) -> None:
    outcome = command(*arguments.split())
    assert outcome.code in (1, 2) and "Traceback" not in outcome.out
    assert outcome.err.count("\n") == 1 and outcome.err.endswith("\n")
    assert list(tmp_path.iterdir()) == []
    if arguments in KINDS:
        assert outcome.err.startswith(KINDS[arguments])
    else:
        keys = [as_typed(argument).lstrip("+~").partition("=")[0] for argument in arguments.split()]
        told = outcome.err.lstrip("+").partition("=")[0]
        assert any(told == key or f"{told}.".startswith(f"{key}.") or key.startswith(f"{told}.") for key in keys), (
            outcome.err
        )


@pytest.mark.parametrize("key", UNFIT)
def test_values_that_do_not_fit(key: str) -> None:
    for value in UNFIT[key]:
        with pytest.raises(InputError, match=f"^{key}="):
            SCHEMA[key].check(key, value)


SMALL = ("architecture=mlp", "scorer=magnitude", "train=false", "trainer=cpu")


def test_a_net_that_reads_numbers_is_taken(command, tmp_path):
    outcome = command(*SMALL, "architecture._target_=test_refusals.Reading", "~architecture.hidden")
    assert (outcome.code, outcome.err) == (0, "")
    (path,) = tmp_path.rglob("result.json")
    assert [layer["size"] for layer in json.loads(path.read_text())["layers"]] == [7840]


def own(folder: Path, name: str, text: str) -> str:
    """Write a user's own config file; return the option by which Hydra finds it."""
    path = folder / "conf" / f"{name}.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return f"hydra.searchpath=[file://{folder}/conf]"


NET = "name: mine\n_target_: prune_init.architectures.mlp.mlp\n"
RECIPE = """
defaults: [quick, _self_]
name: mine
epochs: 3
"""


def test_files_of_ones_own_are_found_by_a_search_path(command, tmp_path):
    place = own(tmp_path, "recipe/mine", RECIPE)
    assert command(*SMALL, "recipe=mine", place).code == 0
    (path,) = tmp_path.rglob("result.json")
    assert json.loads(path.read_text())["config"]["recipe"]["epochs"] == 3
    sweep = command("-m", *SMALL, "recipe=mine,quick", place, "results=swept")
    assert sweep.code == 0 and len(list((tmp_path / "swept").rglob("result.json"))) == 2


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("recipe/mine", RECIPE + "epoch: 7\n", "recipe.epoch=7: unknown key; did you mean epochs? allowed: "),
        (
            "experiment/mine",
            "# @package _global_\nsparcity: 0.9\n",
            "sparcity=0.9: unknown key; did you mean sparsity?",
        ),
        (
            "experiment/mine",
            "sparsity: 0.9\n",
            "experiment={'sparsity': 0.9}: the first line of its file must be: # @package _global_",
        ),
        ("loss/mine", "los: {_target_: torch.nn.L1Loss}\n", "loss._target_=???: is missing; must be given"),
        ("lifecycle/mine", "name: mine\nlevel: 3\n", "lifecycle.level=3: unknown key; allowed: name"),
        ("architecture/mine", NET + "hidden: ???\n", "architecture.hidden=???: has no default; must be given"),
    ],
)
def test_unknown_keys_in_files_of_ones_own_are_refused(command, tmp_path, name, text, line):
    place = own(tmp_path, name, text)
    outcome = command(*SMALL, name.replace("/", "="), place)
    assert outcome.code == 1 and outcome.err.startswith(line) and outcome.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


def test_values_of_ones_own_files_keep_their_kind(command, tmp_path):
    place = own(tmp_path, "architecture/mine", NET + "wide: true\n")
    outcome = command("architecture=mine", "architecture.wide=off_please", place)
    assert (outcome.code, outcome.err) == (1, "architecture.wide=off_please: allowed: true, false\n")


def test_a_key_of_ones_own_that_others_refer_to_is_known(command, tmp_path):
    text = "# @package _global_\nlength: 3\nrecipe: {epochs: '${length}'}\n"
    place = own(tmp_path, "experiment/mine", text)
    outcome = command(*SMALL, "experiment=mine", place)
    assert (outcome.code, outcome.err) == (0, "")
