"""Fixtures, above all the command line run inside this process, which saves the seconds of a new interpreter."""

import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from runpy import run_module

import pytest

from prune_init.__main__ import main


@dataclass(frozen=True)
class Outcome:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def pytest_configure() -> None:
    """Restore the handler of Ctrl-C for its tests, since a shell makes background processes ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of SLURM first: they mostly wait, on one worker, while the others work."""
    items.sort(key=lambda item: item.get_closest_marker("slurm") is None)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tests see the project's own defaults, whatever environment variables the shell has set."""
    for name in list(os.environ):
        if name.startswith(("WANDB_", "HYDRA_", "PRUNE_INIT_", "PL_")) or name == "COLUMNS":
            monkeypatch.delenv(name)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Outcome]:
    """`command("scorer=snip", ...)` does what `python -m prune_init scorer=snip ...` does, in the test's own folder.

    With `module=` it does what `python -m MODULE` does.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # Lightning sets these two; monkeypatch restores them
    monkeypatch.setenv("PL_SEED_WORKERS", "0")

    def run(*arguments: str, module: str = "prune_init") -> Outcome:
        out, err, code = io.StringIO(), io.StringIO(), 0
        monkeypatch.setattr(sys, "argv", ["prune-init", *arguments])
        with redirect_stdout(out), redirect_stderr(err):
            try:
                if module == "prune_init":
                    main()
                else:
                    run_module(module, run_name="__main__")
            except SystemExit as stop:  # as the interpreter handles it
                code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
                if isinstance(stop.code, str):
                    print(stop.code, file=sys.stderr)
        return Outcome(code, out.getvalue(), err.getvalue())

    return run
