"""The documents: their commands and code run, and their links have targets."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from hydra import compose, initialize_config_module

import prune_init
from prune_init.subcommands import MODULES, word

ROOT = Path(__file__).parent.parent
DOCUMENTS = {str(path.relative_to(ROOT)): path.read_text() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]}
SHORTER = {
    "prune_init": ["recipe.epochs=1", "+trainer.limit_train_batches=5", "+trainer.limit_val_batches=1"],
    "cost": ["--datasets", "CIFAR-100"],
}
"""Arguments that are added to commands so that tests do not take minutes."""

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(kind: str, text: str) -> list[str]:
    """The contents of the document's fenced code blocks of this kind; "" is a block without a language."""
    return [inside for found, inside in FENCE.findall(text) if found == kind]


def our_lines(block: str) -> list[str]:
    """The `prune-init` and `python -m` commands of a block, without their comments."""
    lines = [line.split("   #")[0].split("  #")[0].strip() for line in block.splitlines()]
    return [line for line in lines if line.startswith(("prune-init", "python -m"))]


def to_run() -> list[str]:
    """The commands of all bash blocks."""
    found = [line for text in DOCUMENTS.values() for block in blocks("bash", text) for line in our_lines(block)]
    return list(dict.fromkeys(found))


def to_understand() -> list[str]:
    """Commands in plain blocks and in running text, which need data sets, hours or a cluster, so they are not run."""
    found = []
    for text in DOCUMENTS.values():
        plain = [line for block in blocks("", text) for line in our_lines(block)]
        inline = re.findall(r"`((?:python -m|prune-init) [^`]*)`", FENCE.sub("", text))
        found += [line for line in [*plain, *(" ".join(line.split()) for line in inline)] if "..." not in line]
    return [line for line in dict.fromkeys(found) if line not in to_run()]


def parsed(line):
    """The module, its arguments, and the command's name: the word after `prune-init`, or prune_init for a run."""
    words = shlex.split(line)
    module, arguments = ("prune_init", words[1:]) if words[0] == "prune-init" else (words[2], words[3:])
    if module == "prune_init":
        return module, arguments, word(arguments) or module
    return module, arguments, {MODULES[name].removesuffix(".__main__"): name for name in MODULES}.get(module, module)


@pytest.mark.slow
@pytest.mark.parametrize("line", to_run())
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_a_command_runs(line, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module, arguments, name = parsed(line)
    if name == "published":
        pytest.skip("minutes: another test compares a part of it")
    done = command(*arguments, *SHORTER.get(name, []), module=module)
    assert done.code == 0, done.err
    if name == "prune_init":
        assert list(tmp_path.rglob("result.json"))


@pytest.mark.slow
@pytest.mark.parametrize("line", to_understand())
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_a_command_is_understood(line, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module, arguments, name = parsed(line)
    composed = name == "prune_init" and "--help" not in arguments
    if composed and "-m" in arguments:  # Hydra can show only one configuration of a sweep: the first
        arguments = [argument.partition(",")[0] for argument in arguments if argument != "-m"]
    done = command(*arguments, *(("--cfg", "job") if composed else ("--help",)), module=module)
    assert done.code == 0, done.err


def spellings():
    """The overrides that docs/coming-from.md gives, as keys and values."""
    rows = [row.split(" | ") for row in DOCUMENTS["docs/coming-from.md"].splitlines() if " | `" in row]
    cells = [cell for row in rows for cell in re.findall(r"`(-m |)([^`]*)`", row[1])]
    return [
        dict((text.partition(",")[0] if swept else text).split("=", 1) for text in words.split())
        for swept, words in cells
    ]


def go_together(one, other):
    """Whether two sets of overrides can be given to the same run without changing each other's meaning."""
    chosen = {key.partition(".")[0] for both in (one, other) for key in both if "." in key}
    return all(other.get(key, value) == value for key, value in one.items()) and all(
        one.get(group) == other.get(group) for group in chosen
    )


def test_spellings_of_other_frameworks_are_ours():
    runs = []
    for cell in spellings():
        fitting = next((run for run in runs if go_together(cell, run)), None)
        runs.append(dict(cell)) if fitting is None else fitting.update(cell)
    assert len(runs) < 25 < len(spellings())
    with initialize_config_module("prune_init.conf", version_base="1.3"):
        for run in runs:
            compose("config", [f"{key}={value}" for key, value in run.items()])


def test_there_are_commands():
    assert len(to_run()) >= 15 and len(to_understand()) >= 5


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)]+)\)", DOCUMENTS[name]):
        path, _, anchor = target.partition("#")
        if not path.startswith("http"):
            file = (ROOT / name).parent / path if path else ROOT / name
            assert file.exists(), target
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE) if anchor else []
            assert not anchor or anchor in [re.sub(r"[^\w\- ]", "", t).lower().replace(" ", "-") for t in titles], (
                target
            )


def test_the_reference_of_the_configuration_is_current():
    written = runpy.run_path(str(ROOT / "scripts" / "config_reference.py"))["page"]()
    assert written == DOCUMENTS["docs/configuration.md"], "python scripts/config_reference.py writes it anew"


def test_make_targets_exist():
    known = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for text in DOCUMENTS.values() for name in re.findall(r"(?:^ *|`)make (\w+)", text, re.MULTILINE)}
    assert named and named <= known


@pytest.mark.parametrize("name", ["README.md", "docs/library.md"])
def test_the_library_example(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = torchvision.models.resnet18(num_classes=10)
    names = {
        "model": model,
        "example_input": torch.zeros(1, 3, 32, 32),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "batches": [(torch.randn(10, 3, 32, 32), torch.arange(10))],
        "loss": torch.nn.functional.cross_entropy,
    }
    (code,) = blocks("python", DOCUMENTS[name])
    exec(code.replace("sparsity=0.98,", "sparsity=0.98, iterations=2,"), names)
    sparsity, saved = {"README.md": (0.98, True), "docs/library.md": (0.95, False)}[name]
    assert names["result"].sparsity == pytest.approx(sparsity, abs=1e-6)
    assert (tmp_path / "masks.safetensors").exists() == saved


@pytest.mark.slow
def test_the_scorer_of_contributing(tmp_path):
    """Used like a user's own scorer, outside the package."""
    (code,) = blocks("python", DOCUMENTS["CONTRIBUTING.md"])
    (yaml,) = blocks("yaml", DOCUMENTS["CONTRIBUTING.md"])
    names: dict[str, Any] = {"__name__": "inverse"}
    exec(code, names)
    prune_init.check_scorer(names["Inverse"]())
    (tmp_path / "inverse.py").write_text(code)
    (tmp_path / "scorer").mkdir()
    (tmp_path / "scorer/inverse.yaml").write_text(yaml.replace("prune_init.scorers.", ""))
    command = [sys.executable, "-m", "prune_init", "--config-dir", str(tmp_path), "scorer=inverse", "train=false"]
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, check=True, timeout=600)
    assert "/inverse-" in str(*tmp_path.rglob("result.json"))


def test_every_choice_of_every_group_is_named():
    for group in ("dataset", "recipe", "lifecycle", "ablation", "logger", "scorer", "loss", "callbacks"):
        for choice in (ROOT / "conf" / group).glob("*.yaml"):
            assert f"`{choice.stem}`" in "".join(DOCUMENTS.values()), f"{group}={choice.stem}"
