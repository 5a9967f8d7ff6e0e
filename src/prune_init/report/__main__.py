"""`python -m prune_init.report DIR`: a page that shows a folder of runs, or one of the published figures redrawn."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from prune_init.arguments import Parser
from prune_init.errors import InputError


def _parser() -> Parser:
    parser = Parser(
        prog="python -m prune_init.report",
        description="Write DIR/report/report.html, one page that opens offline, and its figures as SVG and PNG; "
        "with figure=NAME, that one of the published figures.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, nargs="?", default=Path("runs"), help="default: runs")
    parser.add_argument(
        "figure", metavar="figure=NAME", nargs="*", help="1 2 3 4 5 6 7 of the paper, a b of the rebuttal"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, read, draw, write; errors that the user can mend end in one line."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    named = [word for word in given if word.startswith("figure=")]
    options = _parser().parse_args([word for word in given if word not in named])
    try:
        if options.figure:
            raise InputError("argument", options.figure[0], "allowed: DIR, figure=NAME")
        if find_spec("matplotlib") is None or find_spec("jinja2") is None:
            raise InputError("report", options.folder, "needs: pip install 'prune_init[report]'")
        from prune_init.report.command import draw_figures, write_page

        if named:
            draw_figures(options.folder, [word.partition("=")[2] for word in named])
        else:
            write_page(options.folder)
    except InputError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"folder={options.folder}: {error.filename} cannot be written ({error.strerror})")


if __name__ == "__main__":
    main()
