"""Fetch a data set: `prune-init download cifar10 --root data`."""

import logging
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace

from prune_init.arguments import Parser
from prune_init.data.folder import IMAGENET
from prune_init.data.sources import CIFAR10, CIFAR100, FASHION_MNIST, MNIST, TINY_IMAGENET

SOURCES = {source.name: source for source in (CIFAR10, CIFAR100, MNIST, FASHION_MNIST, TINY_IMAGENET)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Fetch the data set and print the folder where it is."""
    parser = Parser(__doc__)
    parser.add_argument("name", choices=[*SOURCES, "imagenet"], help="of the data set")
    parser.add_argument("--root", default="data", help="folder of all data sets (default: %(default)s)")
    parser.add_argument("--url", help="URL of a mirror's folder with the official files, ending in a slash")
    parser.run(_fetch, arguments, to="--root")


def _fetch(options: Namespace) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.name == "imagenet":
        sys.exit(f"ImageNet {IMAGENET.format(root=options.root + '/imagenet')}")
    source = SOURCES[options.name]
    print(replace(source, url=options.url or source.url).download(options.root))


if __name__ == "__main__":
    main()
