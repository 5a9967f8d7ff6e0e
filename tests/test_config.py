"""The configuration: every choice works, defaults are stated once, and a run's name identifies what it computes."""

import inspect
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

import prune_init.conf
from prune_init import InputError
from prune_init.command import trials
from prune_init.command.building import build, schedule
from prune_init.record import later, schema, settings

CONF = Path(prune_init.conf.__file__).parent
GROUPS = {
    folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
    for folder in CONF.iterdir()
    if folder.is_dir() and folder.name != "hydra"
}
CHOICES = [(group, name) for group, names in sorted(GROUPS.items()) for name in names]
NEEDED = {
    "dataset=folder": ["dataset.root=somewhere", "dataset.num_classes=5"],
    "callbacks=early_stopping": ["validation=100"],
    "callbacks=lr_monitor": ["logger=tensorboard"],
    "loss=class_weights": ["loss.weights=[1,1,1,1,1,1,1,1,1,2]"],
    "architecture=vgg11_tiny": ["dataset=tiny_imagenet"],
    "architecture=vgg16_tiny": ["dataset=tiny_imagenet"],
}
TRIED: set[str] = set()
"""Trials that earlier tests have run, so that they are not repeated."""


@pytest.fixture
def composed() -> Any:
    """`composed("scorer=snip", ...)` returns the configuration of that command."""
    with initialize_config_module("prune_init.conf", version_base="1.3"):
        yield lambda *overrides: compose("config", list(overrides))


Composed = Callable[..., DictConfig]


def classes_of(module: Any) -> list[type]:
    return [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_choice_can_be_run(composed: Composed, group, name):
    """Compose it, and build and try its network, scorer, schedule, optimiser, loss and callbacks."""
    if name == "timm":
        pytest.importorskip("timm")
    cfg = composed(f"{group}={name}", *NEEDED.get(f"{group}={name}", ["dataset=cifar100"] * (group == "architecture")))
    schema.check(cfg)
    trials.try_all(cfg, TRIED)
    assert len(settings.identity(cfg)) == 64
    assert not OmegaConf.missing_keys(cfg)
    if group in cfg and "name" in (cfg[group] or {}) and group not in ("logger", "trainer"):
        assert cfg[group].name == (cfg[group].model if "model" in cfg[group] else name)


def test_the_scorers_are_those_with_a_file():
    assert list(prune_init.scorers()) == GROUPS["scorer"]


@pytest.mark.parametrize("name", prune_init.scorers())
def test_scorer_yaml_and_class_state_the_same_defaults(composed: Composed, name):
    (scorer,) = classes_of(import_module(f"prune_init.scorers.{name}"))
    choice = composed(f"scorer={name}").scorer
    assert set(choice) == {"name", "_target_"} | {field.name for field in fields(scorer)}
    assert build(choice) == scorer() == prune_init.scorers.named(name)


@pytest.mark.parametrize(
    ("name", "densities"),
    [("exponential", [0.1**0.5, 0.1, 0.1**1.5, 0.01]), ("linear", [0.7525, 0.505, 0.2575, 0.01])],
)
def test_schedules(composed: Composed, name, densities):
    assert schedule(composed(f"schedule={name}").schedule)(0.01, 4) == pytest.approx(densities)


@pytest.mark.parametrize("name", GROUPS["recipe"])
def test_every_recipe_makes_an_optimiser_and_its_schedule(composed: Composed, name):
    recipe = composed(f"recipe={name}").recipe
    optimizer = instantiate(recipe.optimizer)([torch.nn.Parameter(torch.zeros(1))])
    scheduler = instantiate(recipe.scheduler)(optimizer)
    assert optimizer.param_groups[0]["lr"] == recipe.optimizer.lr
    for _ in range(recipe.epochs):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] < recipe.optimizer.lr / 20


@pytest.mark.parametrize("name", GROUPS["trainer"])
def test_every_trainer_is_lightnings(composed: Composed, name):
    trainer = instantiate(composed(f"trainer={name}", "recipe.gradient_clip=0.5").trainer, logger=False)
    assert isinstance(trainer, pl.Trainer)
    assert (trainer.num_devices, trainer.gradient_clip_val, trainer.precision) == (
        2 if name == "ddp" else 1,
        0.5,
        "32-true",
    )


@pytest.mark.parametrize(
    ("name", "classes", "shape"),
    [
        ("fashion_small", 10, [1, 28, 28]),
        ("mnist", 10, [1, 28, 28]),
        ("fashion_mnist", 10, [1, 28, 28]),
        ("cifar10", 10, [3, 32, 32]),
        ("cifar100", 100, [3, 32, 32]),
        ("tiny_imagenet", 200, [3, 64, 64]),
        ("imagenet", 1000, [3, 224, 224]),
    ],
)
def test_datasets(composed: Composed, name, classes, shape):
    dataset = composed(f"dataset={name}").dataset
    assert (dataset.num_classes, list(dataset.input_shape)) == (classes, shape)


def test_one_variable_says_where_data_lies(composed: Composed, monkeypatch):
    assert composed("dataset=cifar10").dataset.root == "data"
    monkeypatch.setenv("PRUNE_INIT_DATA", "/elsewhere")
    assert composed("dataset=cifar10").dataset.root == "/elsewhere"
    assert composed("dataset=imagenet").dataset.root == "/elsewhere/imagenet"


def test_the_default_run_is_the_promised_one(composed: Composed):
    cfg = composed()
    names = (cfg.dataset.name, cfg.architecture.name, cfg.scorer.name, cfg.schedule.name)
    assert names == ("fashion_small", "conv", "synflow", "exponential")
    assert (cfg.sparsity, cfg.scope, cfg.seed, cfg.validation) == (0.98, "global", 0, 0)
    assert cfg.exponent == pytest.approx(1.69897)
    data = build(cfg.dataset)
    assert (len(data.train), len(data.test)) == (5000, 1000)


PUBLISHED = {  # momentum 0.9 with Nesterov and batches of 128 throughout
    "cifar_vgg": {"lr": 0.1, "factor": 0.1, "drops": [60, 120], "decay": 1e-4, "epochs": 160},
    "cifar_resnet": {"lr": 0.01, "factor": 0.2, "drops": [60, 120], "decay": 5e-4, "epochs": 160},
    "tiny_imagenet": {"lr": 0.01, "factor": 0.2, "drops": [30, 60, 80], "decay": 1e-4, "epochs": 100},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipes(composed: Composed, name):
    recipe, wanted = composed(f"recipe={name}").recipe, PUBLISHED[name]
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = instantiate(recipe.optimizer)([weight])
    (group,) = optimizer.param_groups
    assert isinstance(optimizer, torch.optim.SGD)
    assert (group["lr"], group["momentum"], group["nesterov"]) == (wanted["lr"], 0.9, True)
    assert (group["weight_decay"], group["dampening"]) == (wanted["decay"], 0)
    assert (recipe.epochs, recipe.batch_size, recipe.gradient_clip) == (wanted["epochs"], 128, None)
    scheduler = instantiate(recipe.scheduler)(optimizer)
    rates = []
    for _ in range(recipe.epochs):
        rates.append(group["lr"])
        optimizer.step()
        scheduler.step()
    for epoch, rate in enumerate(rates):
        passed = sum(epoch >= drop for drop in wanted["drops"])
        assert rate == pytest.approx(wanted["lr"] * wanted["factor"] ** passed), epoch


PUBLISHED_SCORERS = {
    "synflow": {"iterations": 100, "mode": "eval", "biases": True},
    "snip": {"iterations": 1, "mode": "eval", "examples_per_class": 10},
    "grasp": {"iterations": 1, "mode": "train", "examples_per_class": 10, "temperature": 200.0},
    "magnitude": {"iterations": 1, "mode": "eval"},
    "random": {"iterations": 1, "mode": "eval"},
}


@pytest.mark.parametrize("name", PUBLISHED_SCORERS)
def test_published_scorers(composed: Composed, name):
    choice = composed(f"scorer={name}").scorer
    assert {key: choice[key] for key in PUBLISHED_SCORERS[name]} == PUBLISHED_SCORERS[name]


@pytest.mark.parametrize(
    ("given", "sparsity", "exponent"),
    [
        ("sparsity=0.9", 0.9, 1.0),
        ("sparsity=0", 0, 0.0),
        ("exponent=0", 0.0, 0.0),
        ("exponent=1", 0.9, 1),
        ("exponent=1.69897", 0.98, 1.69897),
        ("exponent=6", 0.999999, 6),
        ("exponent=2 sparsity=0.99", 0.99, 2),
    ],
)
def test_sparsity_and_exponent_set_one_another(composed: Composed, given, sparsity, exponent):
    cfg = composed(*given.split())
    schema.check(cfg)
    assert cfg.sparsity == pytest.approx(sparsity) and cfg.exponent == pytest.approx(exponent, abs=1e-9)


@pytest.mark.parametrize("given", ["exponent=2 sparsity=0.98", "exponent=0 sparsity=0.5", "exponent=1 sparsity=0"])
def test_sparsity_and_exponent_may_not_disagree(composed: Composed, given):
    with pytest.raises(InputError, match="disagrees with sparsity="):
        schema.check(composed(*given.split()))


def run_name(cfg: DictConfig) -> str:
    return settings.run_name(_root_=cfg)


def test_the_name_of_a_run_is_for_people_first(composed: Composed):
    name, _, code = run_name(composed("dataset=cifar10", "architecture=vgg16", "exponent=2.5", "seed=7")).rpartition(
        "-"
    )
    assert name == "cifar10/vgg16/synflow-x2.50-s7"
    assert len(code) == 8 and int(code, 16) >= 0


SAME = [
    "sparsity=0.98",
    "seed=0",
    "results=elsewhere",
    "checkpoint=true",
    "force=true",
    "trainer=cpu",
    "trainer.devices=4",
    "logger=wandb",
    "logger=tensorboard",
    "hydra.run.dir=elsewhere",
]
OTHER = [
    "sparsity=0.981",
    "seed=1",
    "scorer=snip",
    "scorer.iterations=99",
    "scorer.biases=false",
    "iterations=50",
    "scope=layer",
    "mode=train",
    "target=effective",
    "ablation=shuffle",
    "schedule=linear",
    "include=[classifier.weight]",
    "exclude=[classifier.weight]",
    "sample.per_class=5",
    "sample.augment=false",
    "validation=100",
    "precision=bf16-mixed",
    "train=false",
    "architecture=mlp",
    "architecture.widths=[8,8,8,8]",
    "recipe=quick_adamw",
    "recipe.epochs=7",
    "recipe.batch_size=65",
    "recipe.gradient_clip=1.0",
    "recipe.optimizer.lr=0.051",
    "recipe.scheduler.T_max=99",
    "recipe.drop_last=true",
    "schedule.counts=published",
    "loss=label_smoothing",
    "loss.label_smoothing=0.2",
    "callbacks=ema",
    "callbacks=swa",
    "callbacks=[ema,swa]",
    "+trainer.max_steps=7",
    "+trainer.max_steps=8",
    "dataset=cifar10",
]


def test_the_same_configuration_has_the_same_name(composed: Composed):
    names = {run_name(composed()), *(run_name(composed(override)) for override in SAME)}
    assert len(names) == 1


def test_what_defines_a_result_is_in_the_name(composed: Composed):
    codes = {override: run_name(composed(override))[-8:] for override in ["seed=0", *OTHER]}
    assert len(set(codes.values())) == len(codes), codes


def test_keys_that_were_added_do_not_rename_the_runs_before(composed: Composed):
    """The folder names of these commands from before losses, callbacks and given masks were added."""
    assert run_name(composed()) == "fashion_small/conv/synflow-x1.70-s0-36262e67"
    assert (
        run_name(composed("architecture=mlp", "scorer=random", "seed=3"))
        == "fashion_small/mlp/random-x1.70-s3-83d182e9"
    )


def test_what_is_added_with_its_default_is_what_the_configuration_has(composed: Composed):
    plain = settings.resolved(composed())
    older = later.removed(plain)
    assert not older.keys() & later.KEYS.keys() and "drop_last" not in older["recipe"]
    assert later.filled(older) == {**plain, "callbacks": {}}


@pytest.mark.parametrize("place", ["dataset.root=/elsewhere", "dataset.download=true"])
def test_where_data_lies_is_not_in_the_name(composed: Composed, place):
    assert run_name(composed("dataset=cifar10", place)) == run_name(composed("dataset=cifar10"))


def test_the_folder_of_a_data_set_of_ones_own_says_which_images_they_are(composed: Composed):
    one, other = (composed("dataset=folder", "dataset.num_classes=5", f"dataset.root={root}") for root in ("a", "b"))
    assert settings.identity(one) != settings.identity(other) and run_name(one) != run_name(other)
    mine = ("dataset=cifar10", "dataset._target_=mypackage.pets")
    assert run_name(composed(*mine, "dataset.root=a")) != run_name(composed(*mine, "dataset.root=b"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sparsity=0.99", "exponent=2"),
        ("exponent=2", "exponent=2.0"),
        ("sparsity=0", "exponent=0"),
        ("sparsity=0.999999", "exponent=6"),
    ],
)
def test_one_compression_has_one_name(composed: Composed, one, other):
    assert run_name(composed(one)) == run_name(composed(other))
