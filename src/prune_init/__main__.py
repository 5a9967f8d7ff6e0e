"""`prune-init` and `python -m prune_init`: a run, or the command that the first word names."""

import signal
import sys
from importlib import import_module
from pathlib import Path

from prune_init import subcommands


def main() -> None:
    """Import the module asked for, and no other, and call its `main`."""
    if not sys.flags.safe_path and {"", str(Path.cwd())}.isdisjoint(sys.path):
        sys.path.insert(0, "")  # the script finds modules of the current folder as `python -m` does
    typed = sys.argv
    word = subcommands.word(typed[1:])
    if typed[1:] in (["--help"], ["-h"]):
        print(f"{subcommands.overview()}\n")
    if word is not None:
        name = typed[0] if word == "run" else f"{subcommands.called()} {word}"
        sys.argv = [name, *typed[2:]]
    try:
        import_module(subcommands.MODULES[word or "run"]).main()
    except KeyboardInterrupt:  # a run tells more, once it has begun
        sys.exit(128 + signal.SIGINT)
    finally:
        sys.argv = typed


if __name__ == "__main__":
    main()
