"""Show a folder of runs as a page, or redraw figures of the paper, from the runs or computed on the spot.

Writes DIR/report/report.html, which opens offline, and its figures as SVG and PNG; with figure=NAME, that figure only.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from prune_init.arguments import Parser
from prune_init.errors import InputError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    figures = [word for word in given if word.startswith("figure=")]
    parser = Parser(__doc__)
    parser.add_argument("folder", metavar="DIR", type=Path, nargs="?", default=Path("runs"), help="default: runs")
    parser.add_argument(
        "figure", metavar="figure=NAME", nargs="*", help="1 2 3 4 5 6 7 of the paper, a b of the rebuttal"
    )
    parser.add_argument("--baseline", help="a scorer: the page's tables show the differences to it, paired by seed")
    parser.run(lambda chosen: _report(chosen, figures), [word for word in given if word not in figures], to="DIR")


def _report(chosen: Namespace, figures: list[str]) -> None:
    if chosen.figure:
        raise InputError("argument", chosen.figure[0], "allowed: DIR, figure=NAME")
    if find_spec("matplotlib") is None or find_spec("jinja2") is None:
        raise InputError("report", chosen.folder, "needs: pip install 'prune_init[report]'")
    from prune_init.report.command import draw_figures, write_page

    if figures and chosen.baseline:
        raise InputError("--baseline", chosen.baseline, f"is for the tables of the page, not for {figures[0]}")
    if figures:
        draw_figures(chosen.folder, [figure.partition("=")[2] for figure in figures])
    else:
        write_page(chosen.folder, chosen.baseline)


if __name__ == "__main__":
    main()
