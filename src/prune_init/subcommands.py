"""The table of all subcommands of `prune-init`."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import indent

from prune_init.errors import one_of

GROUPS = {
    "Runs": {
        "run": ("command.entry", "prune a network, then train it; the word may be left out"),
        "download": ("data.download", "fetch a data set"),
    },
    "Sweeps": {
        "estimate": ("benchmark.estimate", "hours that a sweep takes on this machine"),
        "status": ("benchmark.status", "what is done, running, failed (and why) or missing"),
        "collect": ("benchmark.collect", "one table of all runs; means over seeds, paired differences"),
        "report": ("report.__main__", "one page of all runs, with figures; or a figure of the paper"),
        "dashboard": ("wandb_dashboard", "a W&B workspace for runs of logger=wandb"),
    },
    "Scorers and networks": {
        "cost": ("analysis.cost", "passes that scoring needs"),
        "collapse": ("analysis.collapse", "the compression at which scorers disconnect a network"),
        "conservation": ("analysis.conservation", "both conservation theorems, before and during training"),
        "networks": ("analysis.networks", "what pruning means in networks of torchvision and timm"),
        "published": ("analysis.published", "weights kept in each layer, compared with the authors'"),
        "bench": ("benchmark.speed.__main__", "seconds and memory, beside a plain implementation"),
    },
    "Replication": {
        "keep-runs": ("benchmark.replication", "keep the curves of runs that repeat published ones"),
        "replication": ("report.replication", "bring docs/replication.md up to date with what was kept"),
    },
}
"""For each group and subcommand: the module whose `main` is called, and what it does."""

MODULES = {name: f"prune_init.{module}" for group in GROUPS.values() for name, (module, _) in group.items()}


def overview() -> str:
    """One line for each subcommand, below the usage."""
    lines = [f"{called()} COMMAND ...; each has its own --help"]
    for title, group in GROUPS.items():
        listed = "\n".join(f"{name:<14}{sentence}" for name, (_, sentence) in group.items())
        lines += ["", f"{title}:", indent(listed, "  ")]
    return "\n".join(lines)


def word(arguments: Sequence[str]) -> str | None:
    """The subcommand named by the first argument; None if that is KEY=VALUE or an option, or if there is none.

    An unknown word ends the program with a one-line error.
    """
    if not arguments or not re.fullmatch(r"\w[\w.-]*", arguments[0]):
        return None
    if arguments[0] not in MODULES:
        sys.exit(f"{arguments[0]}: {one_of(arguments[0], MODULES)}, or KEY=VALUE")
    return arguments[0]


def called() -> str:
    """How this program was called, without arguments: `prune-init report` or `python -m prune_init.report`."""
    name = Path(sys.argv[0]).name
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {spec.name.removesuffix('.__main__')}" if name.endswith(".py") and spec else name


def to_type(*words: object) -> str:
    """A subcommand with its arguments, written in the way in which this program was called."""
    root = "prune-init" if called().startswith("prune-init") else "python -m prune_init"
    return " ".join(map(str, [root, *words]))
