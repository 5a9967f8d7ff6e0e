"""Collect all results below a folder in one table, CSV and Parquet; unfinished runs and broken files are left out."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prune_init.arguments import Parser
from prune_init.benchmark.finished_run import FinishedRun
from prune_init.benchmark.summary import markdown, save, summaries
from prune_init.benchmark.table import COLUMNS, SAID, Row, flat
from prune_init.benchmark.tables import epoch_rows, layer_rows, write_long, write_parquet
from prune_init.benchmark.variants import of_other_code, repeated
from prune_init.errors import InputError, one_of
from prune_init.files import write_csv
from prune_init.record import results
from prune_init.record.keys import differing, leaves
from prune_init.subcommands import to_type


class Collected(NamedTuple):
    """What was found below a folder."""

    rows: list[Row]  # with a column for each configuration key in which the runs differ
    runs: list[FinishedRun]  # the run of each row
    problems: list[str]  # one line for each file or folder that cannot be used, or is no part of means
    unfinished: int  # number of runs that have begun and have no result


def collect(folder: Path, keys: Sequence[str] = ()) -> Collected:
    """Read every result.json below `folder` into a row, in the order of their paths.

    The columns are `schema`, `folder` (relative), `prune_init.benchmark.table.COLUMNS`, then configuration keys such
    as `recipe.optimizer.lr`: those in which the runs differ, unless another column tells the same, and `keys`. The
    value is None where a run has no such key.

    Raises:
        InputError: `folder` is not a folder, or no run has one of `keys`.
    """
    if not folder.is_dir():
        raise InputError("folder", folder, "is not a folder")
    found = Collected([], [], [], 0)
    unfinished, seen = 0, dict[str, Row]()
    for run, finished in run_folders(folder, found.problems):
        try:
            if not finished or (record := results.read(run)) is None:  # or it is a link to a file that is not there
                unfinished += 1
                continue
            row = flat(record, run.relative_to(folder).as_posix())
            first = seen.setdefault(row["identity"], row)
            if first is not row:
                raise InputError("results", run / "result.json", f"is a second copy of {first['folder']}")
            found.rows.append(row)
            found.runs.append(FinishedRun(run, record))
        except InputError as error:
            found.problems.append(str(error))
        except (KeyError, TypeError, AttributeError) as error:
            what = f"config lacks {error}" if isinstance(error, KeyError) else str(error)
            found.problems.append(f"results={run / 'result.json'}: is not a result of prune_init ({what})")
    found.problems.extend(map(str, (*repeated(found.runs), *of_other_code(found.runs))))
    configs = [leaves(run.record.config) for run in found.runs]
    known = {key for one in configs for key in one}
    for key in keys:
        if key not in known:
            raise InputError("columns", key, one_of(key, known))
    shown = dict.fromkeys([*(key for key in differing(configs) if key not in SAID), *keys])
    for row, one in zip(found.rows, configs, strict=True):
        row |= {key: _plain(one.get(key)) for key in shown if key not in COLUMNS}  # `mode` is the scorer's, if null
    return found._replace(unfinished=unfinished)


def _plain(value: Any) -> Any:
    """The value itself, or as JSON if it is a list or an empty group."""
    return value if isinstance(value, str | int | float | None) else json.dumps(value)


def run_folders(folder: Path, problems: list[str]) -> Iterator[tuple[Path, bool]]:
    """Yield the run folders below `folder`, sorted, and whether each has a result.

    Links to folders elsewhere are followed. A line for each folder that cannot be read is added to `problems`.
    """

    def unread(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # a run that had nothing to keep removes its folder
            problems.append(f"folder={error.filename}: cannot be read ({error.strerror}); what it holds is left out")

    top, seen = folder.resolve(), set[Path]()
    for path, inner, files in os.walk(folder, onerror=unread, followlinks=True):
        real = Path(path).resolve()
        twice = real.is_relative_to(top) and real != top / Path(path).relative_to(folder)
        if twice or real in seen:  # a run counts where it lies, not where links lead to it
            inner.clear()
            continue
        seen.add(real)
        if "result.json" in files or "status.json" in files:
            yield Path(path), "result.json" in files
        inner[:] = sorted(name for name in inner if not name.startswith("."))


def main(given: Sequence[str] | None = None) -> None:
    """Write the tables, and print one line for each file that was left out, of the tables or of means."""
    parser = Parser(__doc__)
    parser.add_argument("folder", type=Path, help="where the runs lie, as in results=FOLDER")
    parser.add_argument("--output", type=Path, help="folder of results.csv and results.parquet; default: FOLDER")
    parser.add_argument(
        "--columns", type=lambda text: text.split(","), default=[], metavar="KEY,...",
        help="further configuration keys to show as columns; keys in which the runs differ are always shown",
    )  # fmt: skip
    parser.add_argument(
        "--table", nargs="?", const="top1_last", metavar="COLUMN",
        help="write table.md, table.tex and table.csv: scorer by compression over seeds; default: top1_last",
    )  # fmt: skip
    parser.add_argument("--baseline", metavar="SCORER", help="with --table: the differences to it, paired by seed")
    parser.run(_write, given, to="--output")


def _write(chosen: argparse.Namespace) -> None:
    if chosen.baseline and not chosen.table:
        raise InputError("baseline", chosen.baseline, "needs --table")
    found = collect(chosen.folder, chosen.columns)
    for problem in found.problems:
        print(problem, file=sys.stderr)
    if not found.rows:
        raise InputError("folder", chosen.folder, "holds no result.json of a finished run")
    output = chosen.output or chosen.folder
    tables = summaries(found.runs, chosen.table, chosen.baseline) if chosen.table else []
    if tables and not any(one.exponents for one in tables):
        raise InputError("table", chosen.table, "no run has it; name another COLUMN, such as effective_sparsity")
    output.mkdir(parents=True, exist_ok=True)
    told = []  # printed once all is written, since the reader of a pipe may stop before
    for write, name in ((write_csv, "results.csv"), (write_parquet, "results.parquet")):
        write(output / name, found.rows)
        told.append(f"{output / name}: {len(found.rows):,} runs")
    for make, name in ((layer_rows, "layers.parquet"), (epoch_rows, "epochs.parquet")):
        if long := list(make(found.rows, found.runs)):
            write_long(output / name, long)
            told.append(f"{output / name}: {len(long):,} rows")
    if tables:
        save(tables, output)
        told.append(f"{output / 'table'}.md, .tex, .csv\n\n{markdown(tables)}")
    if found.unfinished:
        told.append(f"{found.unfinished:,} runs have no result (yet): {to_type('status', chosen.folder)}")
    print("\n".join(told))


if __name__ == "__main__":
    main()
