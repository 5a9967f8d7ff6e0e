"""One table of all results, whatever else lies between them."""

import csv
import json
import time
from pathlib import Path

import pytest
from records import add, record

from prune_init.benchmark import collect
from prune_init.benchmark.table import COLUMNS
from prune_init.record import status as run_status

parquet = pytest.importorskip("pyarrow.parquet")

QUICK = ("architecture=mlp", "recipe.epochs=1", "recipe.batch_size=500", "train=false")


def main(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["collect", *map(str, arguments)])
    collect.main()


def test_a_real_run_becomes_a_row(command, tmp_path, monkeypatch, capsys):
    assert command("-m", *QUICK, "scorer=snip,random", "mode=train", "seed=5", f"results={tmp_path}/runs").code == 0
    main(monkeypatch, tmp_path / "runs", "--output", tmp_path / "out")
    assert "results.csv: 2 runs" in capsys.readouterr().out
    table = parquet.read_table(tmp_path / "out/results.parquet")
    assert table.schema.metadata[b"prune_init.schema"] == b"1"
    assert b"log10" in table.schema.field("exponent").metadata[b"meaning"]
    random, snip = table.to_pylist()
    assert [random["scorer"], snip["scorer"]] == ["random", "snip"]
    told = {"seed": 5, "mode": "train", "iterations": 1, "passes": 100, "trained": False, "recipe": "quick"}
    assert {key: snip[key] for key in told} == told
    assert snip["top1_last"] is None and snip["weights"] == 119_400
    assert snip["kept"] == round(0.02 * 119_400) and snip["sparsity"] == 0.98
    assert table.to_pylist() == collect.rows(tmp_path / "runs")
    with (tmp_path / "out/results.csv").open() as file:
        (first, _) = csv.DictReader(file)
    assert list(first) == table.column_names == ["schema", "folder", *COLUMNS]
    assert (first["schema"], first["seed"], first["top1_last"]) == ("1", "5", "")


def test_columns_keep_their_types_where_all_values_are_missing(tmp_path):
    add(tmp_path / "a", record(effective_sparsity=None))
    collect.write_parquet(collect.rows(tmp_path), tmp_path / "t.parquet")
    kinds = {field.name: str(field.type) for field in parquet.read_schema(tmp_path / "t.parquet")}
    assert (kinds["effective_sparsity"], kinds["commit"], kinds["exponent"]) == ("double", "string", "double")
    assert (kinds["connected"], kinds["flops"]) == ("bool", "int64")


def test_torn_foreign_and_unfinished_runs_are_named_and_the_others_collected(tmp_path, monkeypatch, capsys):
    row = record(seed=2).model_dump()
    add(tmp_path / "deep/below/good", record(seed=1))
    for name in ("also_good", "zz_copy"):
        add(tmp_path / name, record(seed=2))
    for name, text in {
        "torn": '{"schema": 1, "status": "comp',
        "empty": "",
        "list": "[]",
        "other_schema": '{"schema": 999}',
        "lacking": '{"schema": 1, "identity": "x"}',
        "of_other_type": json.dumps({**row, "schema": 1, "seed": "zero"}),
        "of_other_config": json.dumps({**row, "schema": 1, "identity": "x", "config": {}}),
        "of_other_shape": json.dumps({**row, "schema": 1, "layers": 3}),
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(text)
    (tmp_path / "result.json").write_text("a stray file at the top hides nothing")
    with pytest.raises(OSError), run_status.recorded(_made(tmp_path / "failed"), "f" * 64, []):
        raise OSError("lost")
    main(monkeypatch, tmp_path)
    printed = capsys.readouterr()
    assert [row["folder"] for row in collect.rows(tmp_path)] == ["also_good", "deep/below/good"]
    assert len(printed.err.splitlines()) == 10
    for named in (
        "torn",
        "empty",
        "list",
        "other_schema",
        "lacking",
        "of_other_type",
        "of_other_config",
        "of_other_shape",
        "zz_copy",
    ):
        assert sum(f"/{named}/" in line for line in printed.err.splitlines()) == 1
    assert "seed is 'zero'" in printed.err and "lacks" in printed.err and "run of also_good once more" in printed.err
    assert "1 runs have no result" in printed.out


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(("make", "line"), [(False, "is not a folder"), (True, "holds no result.json")])
def test_nothing_to_collect_is_one_line(tmp_path, monkeypatch, make, line):
    if make:
        (tmp_path / "runs").mkdir()
    with pytest.raises(SystemExit, match=line):
        main(monkeypatch, tmp_path / "runs")
    assert not (tmp_path / "runs/results.csv").exists()


@pytest.mark.slow
def test_three_thousand_runs_take_less_than_ten_seconds(tmp_path, monkeypatch):
    for number in range(3000):
        add(tmp_path / f"d{number % 12}/a/run{number}", record(seed=number, layers=54))
    start = time.perf_counter()
    main(monkeypatch, tmp_path)
    assert time.perf_counter() - start < 10
    assert parquet.read_table(tmp_path / "results.parquet").num_rows == 3000
