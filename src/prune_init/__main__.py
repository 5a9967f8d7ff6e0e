"""`prune-init` and `python -m prune_init`: a run, or the subcommand that the first argument names."""

import signal
import sys
from importlib import import_module
from pathlib import Path

from prune_init import subcommands


def main() -> None:
    """Import only the module of the command asked for, and call its `main`."""
    if not sys.flags.safe_path and {"", str(Path.cwd())}.isdisjoint(sys.path):
        sys.path.insert(0, "")  # modules in the current folder can be imported, as with `python -m`
    typed = sys.argv
    word = subcommands.word(typed[1:])
    if typed[1:] in (["--help"], ["-h"]):
        print(f"{subcommands.overview()}\n")
    if word is not None:
        name = typed[0] if word == "run" else f"{subcommands.called()} {word}"
        sys.argv = [name, *typed[2:]]
    try:
        import_module(subcommands.MODULES[word or "run"]).main()
    except KeyboardInterrupt:  # a run that has begun raises `Stopped` instead
        sys.exit(128 + signal.SIGINT)
    finally:
        sys.argv = typed


if __name__ == "__main__":
    main()
