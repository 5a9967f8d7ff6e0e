"""Write tables of runs, their layers and their epochs as Parquet."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prune_init.benchmark.finished_run import FinishedRun
from prune_init.benchmark.table import COLUMNS, SCHEMA, Row
from prune_init.errors import InputError
from prune_init.files import whole

ABOUT = ("folder", "identity", "dataset", "architecture", "scorer", "seed", "exponent")
"""Columns of the table of runs that the tables of layers and of epochs have as well."""


def write_parquet(path: Path, table: list[Row]) -> None:
    """Write the table of runs with types; the metadata hold the schema's number and the meaning of each column.

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
    columns = {name: (kind, meaning) for name, (kind, _, meaning) in COLUMNS.items()}
    for key in list(table[0])[len(fields) + len(columns) :]:
        columns[key] = _kind([row[key] for row in table]), "key of the configuration"
        if columns[key][0] is str:
            table = [{**row, key: None if row[key] is None else str(row[key])} for row in table]
    fields += [pyarrow.field(key, kinds[kind], metadata={"meaning": told}) for key, (kind, told) in columns.items()]
    schema = pyarrow.schema(fields, metadata={"prune_init.schema": str(SCHEMA)})
    with whole(path) as partial:
        parquet.write_table(pyarrow.Table.from_pylist(table, schema), partial)


def layer_rows(rows: Sequence[Row], runs: Sequence[FinishedRun]) -> Iterator[Row]:
    """Yield a row for each layer of each run."""
    for row, run in zip(rows, runs, strict=True):
        for place, layer in enumerate(run.record.layers):
            yield {
                **{key: row[key] for key in ABOUT},
                **{"place": place, "layer": layer.name, "shape": "x".join(map(str, layer.shape))},
                **{key: getattr(layer, key) for key in ("size", "kept", "effective", "density")},
            }


def epoch_rows(rows: Sequence[Row], runs: Sequence[FinishedRun]) -> Iterator[Row]:
    """Yield a row for each epoch of each run, from its metrics.csv; a damaged file is reported and left out."""
    for row, run in zip(rows, runs, strict=True):
        try:
            yield from ({key: row[key] for key in ABOUT} | epoch for epoch in run.metrics())
        except (ValueError, OSError) as error:
            print(f"results={run.folder / 'metrics.csv'}: unreadable ({error!r:.80})", file=sys.stderr)


def write_long(path: Path, table: list[Row]) -> None:
    """Write rows as Parquet, typed by their values; a row without one of the columns gets a null there."""
    import pyarrow
    from pyarrow import parquet

    columns = dict.fromkeys(key for row in table for key in row)
    with whole(path) as partial:
        parquet.write_table(pyarrow.table({key: [row.get(key) for row in table] for key in columns}), partial)


def _kind(values: Sequence[Any]) -> type:
    """The type of a column: that of all values, float for ints and floats, else str."""
    found = {type(value) for value in values if value is not None}
    return found.pop() if len(found) == 1 else float if found == {int, float} else str
