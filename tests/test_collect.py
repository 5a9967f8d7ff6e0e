"""One table of all results, whatever other files are in the folders."""

import csv
import json
import math
import os
import subprocess
import sys

import pytest
from records import add, record

from prune_init.benchmark import collect, tables
from prune_init.benchmark.status import progress
from prune_init.benchmark.summary import grid, summaries
from prune_init.benchmark.table import COLUMNS
from prune_init.record import later
from prune_init.record import status as run_status
from prune_init.record.keys import differing, leaves
from prune_init.report.grouping import panels
from prune_init.report.runs import load

parquet = pytest.importorskip("pyarrow.parquet")

GOOD = "epoch,test/top1\n1,0.5\n2,\n"
QUICK = ("architecture=mlp", "recipe.epochs=1", "recipe.batch_size=500", "train=false")


def test_a_real_run_becomes_a_row(command, tmp_path, capsys):
    assert command("-m", *QUICK, "scorer=snip,random", "mode=train", "seed=5", f"results={tmp_path}/runs").code == 0
    collect.main([str(tmp_path / "runs"), "--output", str(tmp_path / "out")])
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
    assert table.to_pylist() == collect.collect(tmp_path / "runs").rows
    with (tmp_path / "out/results.csv").open() as file:
        (first, _) = csv.DictReader(file)
    assert list(first) == table.column_names == ["schema", "folder", *COLUMNS]
    assert (first["schema"], first["seed"], first["top1_last"]) == ("1", "5", "")


def test_columns_keep_their_types_where_all_values_are_missing(tmp_path):
    add(tmp_path / "a", record(effective_sparsity=None))
    tables.write_parquet(tmp_path / "t.parquet", collect.collect(tmp_path).rows)
    kinds = {field.name: str(field.type) for field in parquet.read_schema(tmp_path / "t.parquet")}
    assert (kinds["effective_sparsity"], kinds["commit"], kinds["exponent"]) == ("double", "string", "double")
    assert (kinds["connected"], kinds["flops"]) == ("bool", "int64")


def test_torn_foreign_and_unfinished_runs_are_named_and_the_others_collected(tmp_path, capsys):
    row = record(seed=2).model_dump()
    add(tmp_path / "deep/below/good", record(seed=1))
    for name in ("also_good", "zz_copy"):
        add(tmp_path / name, record(seed=2))
    broken = {
        "torn": '{"schema": 1, "status": "comp',
        "empty": "",
        "list": "[]",
        "other_schema": '{"schema": 999}',
        "lacking": '{"schema": 1, "identity": "x"}',
        "of_other_type": json.dumps({**row, "schema": 1, "seed": "zero"}),
        "of_other_config": json.dumps({**row, "schema": 1, "identity": "x", "config": {}}),
        "of_no_number": json.dumps({**row, "schema": 1, "exponent": math.inf}),
        "of_other_shape": json.dumps({**row, "schema": 1, "layers": 3}),
    }
    for name, text in broken.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(text)
    (tmp_path / "result.json").write_text("a stray file at the top hides nothing")
    run_status.fail(tmp_path / "failed", "f" * 64, [], "lost")
    collect.main([str(tmp_path)])
    printed = capsys.readouterr()
    assert [row["folder"] for row in collect.collect(tmp_path).rows] == ["also_good", "deep/below/good"]
    assert len(printed.err.splitlines()) == 11
    for named in (*broken, "zz_copy"):
        assert sum(f"/{named}/" in line for line in printed.err.splitlines()) == 1
    assert "seed is 'zero'" in printed.err and "lacks" in printed.err and "second copy of also_good" in printed.err
    assert "1 runs have no result" in printed.out


def test_epochs_that_cannot_be_read_are_named_and_the_others_are_there(tmp_path, capsys):
    torn = {
        "cut": "epoch,test/top1\n1,0.5\n2,0.",
        "short": "epoch,test/top1\n1\n",
        "headless": "1,0.5\n2,0.6\n",
        "empty": "",
    }
    for seed, name in enumerate(("good", "zeros", "is_folder", *torn)):
        add(tmp_path / name, record(seed=seed)).joinpath("metrics.csv").write_text(torn.get(name, GOOD))
    (tmp_path / "zeros/metrics.csv").write_bytes(bytes(200_000))  # as a disk may hold after a power cut
    (tmp_path / "is_folder/metrics.csv").unlink()
    (tmp_path / "is_folder/metrics.csv").mkdir()
    collect.main([str(tmp_path)])
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 6 and all("/metrics.csv: unreadable (" in line for line in said)
    rows = parquet.read_table(tmp_path / "epochs.parquet").select(["folder", "epoch", "test/top1"]).to_pylist()
    assert [list(row.values())[:2] for row in rows] == [["good", 1], ["good", 2]] and math.isnan(rows[1]["test/top1"])


def test_links_are_followed_once_and_what_cannot_be_read_is_named(tmp_path, monkeypatch):
    """Of a run on another disk, behind a link, and of one in a folder of somebody else; links to the runs are loops."""
    runs, disk = tmp_path / "runs", tmp_path / "disk"
    add(runs / "private/run", record(seed=0))
    add(runs / "z/here", record(seed=1))
    add(disk / "deep/there", record(seed=2))
    (runs / "linked").symlink_to(disk)
    (runs / "again").symlink_to(disk / "deep")
    (runs / "latest").symlink_to(runs / "z/here")
    (disk / "back").symlink_to(tmp_path)
    add(runs / "fetched", record(seed=3)).joinpath("result.json").unlink()
    (runs / "fetched/result.json").symlink_to(tmp_path / "not_there")
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("private"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    found = collect.collect(runs)
    assert [row["folder"] for row in found.rows] == ["again/there", "z/here"] and found.unfinished == 1
    line = f"folder={runs / 'private'}: cannot be read (Permission denied); what it holds is left out"
    assert found.problems == [line] and "private: cannot be read" in load(runs).problems[0]
    assert progress(runs).problems == [line] and progress(runs).sweeps[0][1] == {"done": 2, "missing": 1}


@pytest.mark.parametrize(("make", "line"), [(False, "is not a folder"), (True, "holds no result.json")])
def test_nothing_to_collect_is_one_line(tmp_path, make, line):
    if make:
        (tmp_path / "runs").mkdir()
    with pytest.raises(SystemExit, match=line):
        collect.main([str(tmp_path / "runs")])
    assert not (tmp_path / "runs/results.csv").exists()


def test_what_runs_differ_in_is_a_column_and_part_of_their_folders_names(command, tmp_path):
    swept = ("scorer=snip,random", "recipe.optimizer.lr=0.001,0.01", "exponent=1", f"results={tmp_path}/runs")
    assert command("-m", *QUICK, *swept).code == 0
    found = collect.collect(tmp_path / "runs").rows
    assert {(row["scorer"], row["recipe.optimizer.lr"]) for row in found} == {
        (scorer, lr) for scorer in ("snip", "random") for lr in (0.001, 0.01)
    }
    assert list(found[0])[-1] == "recipe.optimizer.lr"  # all other differences have columns already
    assert all(f"-lr{row['recipe.optimizer.lr']}-" in row["folder"] for row in found)
    collect.main([str(tmp_path / "runs"), "--columns", "recipe.optimizer.momentum,exclude"])
    (momentum,) = set(parquet.read_table(tmp_path / "runs/results.parquet")["recipe.optimizer.momentum"].to_pylist())
    assert momentum == 0.9
    with pytest.raises(SystemExit, match=r"columns=recipe\.optimizer\.lrr: did you mean recipe\.optimizer\.lr\?"):
        collect.main([str(tmp_path / "runs"), "--columns", "recipe.optimizer.lrr"])
    # A folder with an older, shorter name still belongs to its run.
    (one,) = (tmp_path / "runs").glob("*/*/snip-*lr0.001*")
    one.rename(one.with_name(f"snip-x1.00-s0-{one.name[-8:]}"))
    assert "4 runs, 4 of them finished" in command("-m", *QUICK, *swept).out


def test_runs_from_before_keys_were_added_are_averaged_with_newer_ones(tmp_path):
    new = {**later.KEYS, "recipe": {"drop_last": False}, "schedule": {"counts": "nearest"}}
    for seed, config in enumerate(({}, new, new)):
        add(tmp_path / f"{seed}", record("snip", 1.0, seed, 0.5 + seed / 10, config=config))
    add(tmp_path / "other", record("snip", 1.0, 0, 0.9, config={**new, "tf32": True}))
    found = collect.collect(tmp_path)
    (table,) = summaries(found.runs, "top1_last")
    assert {name: list(line[1.0].values()) for name, line in table.lines.items()} == {
        "snip (no_tf32)": [50, 60, 70],
        "snip (tf32)": [90],
    }
    assert list(found.rows[0])[-1] == "tf32"  # the only column of a configuration key


def test_a_seed_counts_once_in_tables_and_figures_and_its_other_runs_are_named(tmp_path, capsys):
    """0.98 and 1.699 are one compression in 4 digits; the run like the other seeds' counts, whatever its folder."""
    for seed in (0, 1, 2):
        add(tmp_path / f"of{seed}", record("snip", -math.log10(0.02), seed, 0.1))
    for place in ("aa", "zz"):
        add(tmp_path / place, record("snip", 1.699, 0, 0.7, identity=place))
    collect.main([str(tmp_path), "--table"])
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    for line, place in zip(said, ("aa", "zz"), strict=True):
        assert line.startswith(f"results={tmp_path / place}: has the seed 0 of {tmp_path / 'of0'} (sparsity 0.98), ")
    found = collect.collect(tmp_path)
    (table,) = summaries(found.runs, "top1_last")
    assert [cell for _, cell in grid(table)] == ["50x", "10.00 ± 0.00"] and len(found.rows) == 5
    ((series,),) = (panel.series for panel in panels(found.runs))
    (point,) = series.points
    assert point.accuracy("last") == pytest.approx((10, 0, 3)) and len(list(series)) == 5


def test_a_column_is_not_replaced_by_the_configuration_key_of_its_name(tmp_path):
    """The keys `mode` and `iterations` are null where the scorer's own count; the columns tell what was done."""
    add(tmp_path / "a", record(config={"iterations": None}))
    (row,) = collect.collect(tmp_path, ("mode", "iterations", "recipe.optimizer.lr")).rows
    assert (row["mode"], row["iterations"], row["recipe.optimizer.lr"]) == ("eval", 100, 0.1)


def test_files_are_utf_8_in_any_locale_and_a_reader_that_has_enough_is_no_error(tmp_path):
    for seed in range(3):
        add(tmp_path / f"{seed}", record("schärfe", 1.0, seed))
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "prune_init", "collect", str(tmp_path), "--table"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env={**os.environ, **ascii_only}, **pipes) as process:
        process.stdout.close()  # as `| head` does
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert "| schärfe | 50.00 ± 0.00 |" in (tmp_path / "table.md").read_text("utf-8")
    assert "schärfe" in (tmp_path / "results.csv").read_text("utf-8")


def test_variants_are_named_by_the_settings_that_tell_them_apart(tmp_path):
    sgd = {"_target_": "torch.optim.SGD", "momentum": 0.9, "weight_decay": 0.1}
    adam = {"_target_": "torch.optim.AdamW", "lr": 0.001, "weight_decay": 0.05, "eps": 1e-8}
    optimizers = [*({**sgd, "lr": lr, "nesterov": lr > 0.1} for lr in (0.1, 0.2)), adam]
    recipes = [{"optimizer": one, "batch_size": size} for one in optimizers for size in (64, 128)]
    own = {"recipe": {"optimizer": {**sgd, "_target_": "mine.SGD"}}}
    sets = {
        "many": [{"recipe": recipe} for recipe in recipes],
        "same_name": [{"recipe": {"optimizer": sgd}}, own],
        "callbacks": [{"callbacks": {}}, {"callbacks": {"ema": {"_target_": "mine.EMA", "decay": 0.9}}}],
        "nameless": [{}, {"new": None}],
    }
    for network, configs in sets.items():
        for place, config in enumerate(configs):
            add(tmp_path / f"{network}{place}", record(architecture=network, config=config))
    tables = summaries(collect.collect(tmp_path).runs, "top1_last")
    assert {table.architecture: set(table.lines) for table in tables} == {
        "many": {
            *(
                f"snip ({name}, batch_size{n})"
                for name in ("SGD, lr0.1", "SGD, lr0.2", "AdamW, lr0.001")
                for n in (64, 128)
            )
        },
        "same_name": {f"snip (recipe.optimizer._target_='{name}.SGD')" for name in ("torch.optim", "mine")},
        "callbacks": {"snip", "snip (EMA)"},
        "nameless": {"snip (#1)", "snip (#2)"},
    }


def test_a_mean_over_runs_of_changed_code_is_told_once(tmp_path):
    for seed, code in enumerate(("old", "old", "new")):
        for exponent in (1.0, 2.0):
            add(tmp_path / f"{exponent}-{seed}", record("snip", exponent, seed, code={"mine": code, "same": "x"}))
    add(tmp_path / "before", record("snip", 1.0, 3))  # from before checksums were recorded
    add(tmp_path / "alone", record("grasp", 1.0, 0, code={"mine": "new"}))
    (line,) = collect.collect(tmp_path).problems
    assert line.startswith(f"code=mine: changed between {tmp_path / '1.0-0'} and {tmp_path / '1.0-2'}, which are ")


def test_names_with_characters_that_tables_use(tmp_path):
    add(tmp_path / "a", record(r"a|b & $x_1^{2}~ 50% \c #"))
    collect.main([str(tmp_path), "--table"])
    assert r"| a\|b & $x_1^{2}~ 50% \c # | 50.00 |" in (tmp_path / "table.md").read_text()
    tex = r"a|b \& \$x\_1\^{}\{2\}\~{} 50\% \textbackslash{}c \# & 50.00 \\"
    assert tex in (tmp_path / "table.tex").read_text()


def test_keys_that_say_the_same_as_another_are_no_columns():
    configs = [
        {"scorer": {"name": name, "power": power}, "sample": {"n": n}, "lr": lr, "other": {"lr": lr}, "seed": 0}
        for name, power, n, lr in (("a", 1, 10, 0.1), ("b", None, 0, 0.2), ("a", 1, 10, 0.2))
    ]
    assert differing([leaves(config) for config in configs]) == ["scorer.name", "lr"]
    configs[2]["scorer"] = {"name": "a", "power": 2}
    assert differing([leaves(config) for config in configs]) == ["scorer.name", "scorer.power", "lr"]


def test_tables_for_papers(tmp_path, capsys):
    """Means, t-intervals and paired differences compared with values computed by hand."""
    for seed, (ours, theirs) in enumerate(((0.80, 0.70), (0.82, 0.71), (0.84, 0.75))):
        add(tmp_path / f"snip{seed}", record("snip", 1.0, seed, ours))
        add(tmp_path / f"random{seed}", record("random", 1.0, seed, theirs))
    add(tmp_path / "lone", record("snip", 2.0, 0, 0.5))
    for seed, top1 in enumerate((0.4, 0.3, float("nan"))):
        add(tmp_path / f"few{seed}", record("random", 2.0, seed, top1))
    add(tmp_path / "train", record("snip", 2.0, 0, 0.6, config={"mode": "train"}))
    collect.main([str(tmp_path), "--table", "--baseline", "random"])
    (found,) = summaries(collect.collect(tmp_path).runs, "top1_last", "random")
    assert list(grid(found)) == [
        ["scorer", "10x", "100x"],
        ["random", "72.00 ± 6.57", "40.00, 30.00"],  # 4.3027 * sqrt(7 / 3)
        ["snip", "82.00 ± 4.97", "50.00"],  # 4.3027 * 2 / sqrt(3)
        ["snip - random", "+10.00 ± 2.48", "+10.00"],
        ["snip (train)", "", "60.00"],
        ["snip (train) - random", "", "+20.00"],
    ]
    assert found.left_out == 1 and "1 runs without a value" in capsys.readouterr().out
    assert "| snip | 82.00 ± 4.97 | 50.00 |" in (tmp_path / "table.md").read_text()
    assert r"snip (train) $-$ random &  & +20.00 \\" in (tmp_path / "table.tex").read_text()
    lines = csv.DictReader((tmp_path / "table.csv").read_text().splitlines())
    (line,) = (row for row in lines if row["scorer"] == "snip" and row["n"] == "3")
    assert [float(line[f"difference{end}"]) for end in ("", "_half")] == pytest.approx([10, 2.484], abs=1e-3)
    layers, epochs = (parquet.read_table(tmp_path / f"{name}.parquet").to_pylist() for name in ("layers", "epochs"))
    assert len(layers) == 11 * 5 and layers[0]["shape"] == "10x10" and layers[0]["kept"] == 10
    assert len(epochs) == 11 * 2 and {row["test/top1"] for row in epochs} == {0.5, 0.7}
    for wrong, said in (
        (["--baseline", "snap"], "baseline=snap: did you mean snip"),
        (["scorer"], "table=scorer: "),
        (["best_validation_epoch"], "table=best_validation_epoch: no run has it; "),
    ):
        with pytest.raises(SystemExit, match=said):
            collect.main([str(tmp_path), "--table", *wrong])
