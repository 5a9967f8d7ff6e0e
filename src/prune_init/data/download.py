"""Fetches a data set: `python -m prune_init.data.download cifar10 --root data`."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace

from prune_init.arguments import Parser
from prune_init.data.folder import IMAGENET
from prune_init.data.sources import CIFAR10, CIFAR100, FASHION_MNIST, MNIST
from prune_init.data.tiny_imagenet import TINY_IMAGENET
from prune_init.errors import InputError

SOURCES = {source.name: source for source in (CIFAR10, CIFAR100, MNIST, FASHION_MNIST, TINY_IMAGENET)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status: 0, or 1 after one line on what went wrong."""
    parser = Parser(prog="python -m prune_init.data.download", description="Fetch a data set.")
    parser.add_argument("name", choices=[*SOURCES, "imagenet"], help="which one")
    parser.add_argument("--root", default="data", help="folder of all data sets (default: %(default)s)")
    parser.add_argument("--url", help="folder of the official files, with the slash at its end, on a mirror")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.name == "imagenet":
        print(f"ImageNet {IMAGENET.format(root=options.root + '/imagenet')}", file=sys.stderr)
        return 1
    source = SOURCES[options.name]
    try:
        print(replace(source, url=options.url or source.url).download(options.root))
    except (InputError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
