"""All results below a folder as one table, CSV and Parquet; runs in progress and broken files do not hinder it."""

import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from prune_init.arguments import Parser
from prune_init.benchmark.table import COLUMNS, SCHEMA, Row, flat
from prune_init.errors import InputError
from prune_init.files import whole
from prune_init.record import results
from prune_init.record.run_record import RunRecord


class Collected(NamedTuple):
    """What was found below a folder."""

    rows: list[Row]
    records: list[RunRecord]  # what each row was made from
    problems: list[str]  # one line for each file that is no result of ours
    unfinished: int  # runs that began and have no result yet


def collect(folder: Path) -> Collected:
    """One row per result.json below `folder`, in the order of their paths.

    The columns are `schema`, `folder` (relative) and `prune_init.benchmark.table.COLUMNS`; None where a run has no
    such number.

    Raises:
        InputError: `folder` is not a folder.
    """
    if not folder.is_dir():
        raise InputError("folder", folder, "is not a folder")
    found = Collected([], [], [], 0)
    unfinished, seen = 0, dict[str, Row]()
    for run, finished in run_folders(folder):
        if not finished:
            unfinished += 1
            continue
        try:
            if (record := results.read(run)) is None:
                continue  # moved away meanwhile
            row = flat(record, run.relative_to(folder).as_posix())
            first = seen.setdefault(row["identity"], row)
            if first is not row:
                raise InputError("results", run / "result.json", f"is the run of {first['folder']} once more")
            found.rows.append(row)
            found.records.append(record)
        except InputError as error:
            found.problems.append(str(error))
        except (KeyError, TypeError, AttributeError) as error:
            what = f"config lacks {error}" if isinstance(error, KeyError) else str(error)
            found.problems.append(f"results={run / 'result.json'}: is no result of prune_init ({what})")
    return found._replace(unfinished=unfinished)


def rows(folder: Path) -> list[Row]:
    """The rows of `collect`, if nothing else matters."""
    return collect(folder).rows


def run_folders(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Run folders in order, and whether each has a result."""
    for path, inner, files in os.walk(folder):
        if "result.json" in files or "status.json" in files:
            yield Path(path), "result.json" in files
        inner[:] = sorted(name for name in inner if not name.startswith("."))


def write_csv(table: list[Row], path: Path) -> None:
    """One line per row, empty where there is no number; the first column is the table's schema."""
    with whole(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["schema", "folder", *COLUMNS])
        writer.writeheader()
        writer.writerows(table)


def write_parquet(table: list[Row], path: Path) -> None:
    """The same, typed; the file's metadata has the schema's number and each column's meaning.

    Raises:
        InputError: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise InputError("output", path, "needs: pip install 'prune_init[report]'") from None
    kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    fields = [pyarrow.field("schema", pyarrow.int64()), pyarrow.field("folder", pyarrow.string())]
    fields += [
        pyarrow.field(name, kinds[kind], metadata={"meaning": told}) for name, (kind, _, told) in COLUMNS.items()
    ]
    schema = pyarrow.schema(fields, metadata={"prune_init.schema": str(SCHEMA)})
    with whole(path) as partial:
        parquet.write_table(pyarrow.Table.from_pylist(table, schema), partial)


def main() -> None:
    """Write results.csv and results.parquet, and tell in one line each what was left out."""
    parser = Parser(prog="python -m prune_init.benchmark.collect", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the runs lie, as in results=FOLDER")
    parser.add_argument("--output", type=Path, help="folder of results.csv and results.parquet; default: FOLDER")
    chosen = parser.parse_args()
    try:
        found = collect(chosen.folder)
        for problem in found.problems:
            print(problem, file=sys.stderr)
        if not found.rows:
            raise InputError("folder", chosen.folder, "holds no result.json of a finished run")
        output = chosen.output or chosen.folder
        output.mkdir(parents=True, exist_ok=True)
        for write, name in ((write_csv, "results.csv"), (write_parquet, "results.parquet")):
            write(found.rows, output / name)
            print(f"{output / name}: {len(found.rows):,} runs")
        if found.unfinished:
            print(
                f"{found.unfinished:,} runs have no result (yet): python -m prune_init.benchmark.status {chosen.folder}"
            )
    except InputError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"output={error.filename}: cannot be written ({error.strerror})")


if __name__ == "__main__":
    main()
