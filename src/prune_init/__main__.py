"""`prune-init` and `python -m prune_init`: a run, or the subcommand that the first argument names."""

import os
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
    if word is not None:
        name = typed[0] if word == "run" else f"{subcommands.called()} {word}"
        sys.argv = [name, *typed[2:]]
    try:
        if typed[1:] in (["--help"], ["-h"]):
            print(f"{subcommands.overview()}\n")
        import_module(subcommands.MODULES[word or "run"]).main()
        sys.stdout.flush()
    except KeyboardInterrupt:  # a run that has begun raises `Stopped` instead
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # the reader, such as head, has gone; Python would complain once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    finally:
        sys.argv = typed


if __name__ == "__main__":
    main()
