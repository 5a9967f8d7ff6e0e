"""`prune-init WORD ...`: one table of commands; only the module of the chosen command is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from prune_init import subcommands
from prune_init.arguments import Parser
from prune_init.subcommands import MODULES


def test_help_names_every_command_and_what_it_does(command):
    told = command("--help").out
    lines = [line.split(maxsplit=1) for line in told.partition("Configuration groups")[0].splitlines()]
    listed = {line[0]: line[1] for line in lines if line and line[0] in MODULES}
    assert list(listed) == list(MODULES) and all(len(f"  {x:<14}{y}") <= 80 for x, y in listed.items())
    assert "scorer: " in told and "synflow" in told


@pytest.mark.parametrize("word", [name for name in MODULES if name != "run"])
def test_each_command_has_its_own_help(command, word):
    told = command(word, "--help")
    assert told.code == 0 and told.out.startswith(f"usage: prune-init {word} [-h]")


def test_run_is_what_goes_without_a_word(command):
    composed = command("--cfg", "job", "scorer=snip", "seed=3")
    assert composed.code == 0 and "seed: 3\n" in composed.out
    assert command("run", "--cfg", "job", "scorer=snip", "seed=3") == composed
    assert command("run", "--help").out.startswith("Prune a neural network")
    assert command("run", "scorer=synflo").err.startswith("scorer=synflo: did you mean synflow?")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("reprot runs", "reprot: did you mean report? allowed: bench, "),
        ("benchmark.status runs", "benchmark.status: did you mean status? allowed: bench, "),
        ("status nowhere", "folder=nowhere: is not a folder"),
        ("status", "the following arguments are required: folder"),
        ("keep-runs .", "folder=.: holds no run that has trained for an epoch"),
        ("replication .", "folder=.: holds no cell.json; prune-init keep-runs keeps runs"),
    ],
)
def test_a_mistake_is_one_line_with_the_command_as_typed(command, tmp_path, arguments, line):
    told = command(*arguments.split())
    assert told.code in (1, 2) and told.err.startswith(line) and told.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_where_files_cannot_be_written_another_place_can_be_chosen():
    def write(_):
        Path("/proc/nowhere").write_text("")

    with pytest.raises(SystemExit, match=r"^/proc/nowhere: cannot be written \(.*\); choose another place by --to$"):
        Parser("").run(write, [], to="--to")


@pytest.mark.parametrize(
    ("first", "module", "called", "root"),
    [
        ("/usr/bin/prune-init", None, "prune-init", "prune-init"),
        ("prune-init report", None, "prune-init report", "prune-init"),
        ("/x/prune_init/__main__.py", "prune_init.__main__", "python -m prune_init", "python -m prune_init"),
        ("/x/cost.py", "prune_init.analysis.cost", "python -m prune_init.analysis.cost", "python -m prune_init"),
        ("/my/script.py", None, "script.py", "python -m prune_init"),
    ],
)
def test_commands_are_named_as_they_were_typed(monkeypatch, first, module, called, root):
    spec = module and type("Spec", (), {"name": module})
    monkeypatch.setattr(sys, "argv", [first, "runs"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec)
    assert (subcommands.called(), subcommands.to_type("status", "runs")) == (called, f"{root} status runs")


def test_only_the_command_asked_for_is_imported():
    code = (
        "import sys; sys.argv = ['prune-init', 'dashboard', '--help']\n"
        "from prune_init.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('hydra', 'omegaconf', 'torch', 'rich', 'wandb') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.endswith("\n[]\n")
