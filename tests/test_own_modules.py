"""One-line errors for a user's modules that cannot be imported, and keys of config groups that are swept."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from prune_init.swept_groups import as_typed, deferred

MODULES = {  # their source, the message, and the line number in the message, if any
    "lacking": ("import gone_for_ever\n", "ModuleNotFoundError(\"No module named 'gone_for_ever'\")", "line 1)"),
    "halfway": ("from halfway import other\n", "ImportError(\"cannot import name 'other' from ", "line 1)"),
    "wrong": ("x = 1\ndef scorer(:\n", "SyntaxError('invalid syntax', ('", "mod.py', 2, "),
    "broken": ("x = 1\ny = x / 0\n", "ZeroDivisionError('division by zero')", "mod.py, line 2)"),
    "careful": ("raise RuntimeError('needs a GPU')\n", "RuntimeError('needs a GPU')", "mod.py, line 1)"),
}


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name, (code, *_) in MODULES.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "mod.py").write_text(code)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in MODULES]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("group", "name"),
    [
        *(("scorer", name) for name in MODULES),
        *((group, "broken") for group in ("architecture", "dataset", "loss", "recipe.optimizer")),
    ],
)
def test_what_is_wrong_inside_a_module_is_told(command, tmp_path, group, name):
    _, what, line = MODULES[name]
    outcome = command(f"{group}._target_={name}.mod.Mine")
    assert outcome.code == 1 and outcome.err.count("\n") == 1
    assert outcome.err.startswith(f"{group}._target_={name}.mod.Mine: Error loading '{name}.mod.Mine': {what}")
    assert line in outcome.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("target", ["gone_for_ever.mod.Mine", "broken.gone.Mine", "math.Mine"])
def test_a_module_that_is_not_there_is_told_as_such(command, target):
    outcome = command("architecture=mlp", f"scorer._target_={target}")
    assert outcome.code == 1 and outcome.err.startswith(f"scorer._target_={target}: Error loading '{target}': ")
    assert outcome.err.count("\n") == 1 and ", line " not in outcome.err


def test_the_whole_traceback_is_shown_to_who_asks(tmp_path):
    command = [sys.executable, "-m", "prune_init", "architecture=mlp", "scorer._target_=broken.mod.Mine"]
    env = {"HYDRA_FULL_ERROR": "1", "PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and "y = x / 0" in done.stderr and "Traceback" in done.stderr
    assert done.stderr.rstrip().splitlines()[-1].endswith("broken/mod.py, line 2)")


# ------------------------------------------------------------------------------------------------ keys of swept groups


@pytest.mark.parametrize(
    ("typed", "left"),
    [
        ("-m architecture=timm,torchvision architecture.model=resnet18", {"architecture.model": "choice(resnet18)"}),
        ("-m architecture=mlp,conv architecture.widths=[8,8]", {"architecture.widths": "choice([8,8])"}),
        ("-m scorer=snip,grasp seed=3 scorer.iterations=2,3", {}),
        ("-m scorer=snip,grasp architecture.widths=[8,8]", {}),
        ("-m scorer=snip,grasp ++scorer.temperature=3 +scorer.x=1", {}),
        ("scorer=snip scorer.iterations=2", {}),
        ("-m pair=cifar10_vgg11,cifar10_vgg16 recipe.epochs=2", {"recipe.epochs": "choice(2)"}),
        ("-m scorer=snip,grasp scorer.mode=${mode}", {"scorer.mode": "choice(${mode})"}),
    ],
)
def test_which_values_are_set_in_the_runs_alone(typed, left):
    arguments = typed.split()
    found = deferred(arguments)
    changed = dict(new.split("=", 1) for old, new in zip(arguments, found, strict=True) if old != new)
    assert changed == left and [as_typed(argument) for argument in found] == arguments


def test_the_word_of_a_sweep_may_stand_anywhere():
    assert deferred(["scorer=snip", "-m", "seed=0,1"]) == ["-m", "scorer=snip", "seed=0,1"]


def test_a_key_that_all_choices_have_is_swept(command, tmp_path):
    sweep = ("-m", "architecture=mlp", "scorer=snip,iter_snip", "iterations=1", "train=false", "trainer=cpu")
    outcome = command(*sweep, "scorer.examples_per_class=3")  # the default scorer has no such key
    assert outcome.code == 0, outcome.err
    rows = [json.loads(path.read_text()) for path in tmp_path.rglob("result.json")]
    assert {row["scorer"]: row["cost"]["examples_per_iteration"] for row in rows} == {"snip": 30, "iter_snip": 30}
