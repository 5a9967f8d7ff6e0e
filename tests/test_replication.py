"""The files that are kept of runs that repeat published ones, and the document made from them."""

import json
import shutil
from pathlib import Path
from statistics import mean, stdev

import pytest
from records import add, record

import prune_init
from prune_init import InputError
from prune_init.benchmark import replication as keeping
from prune_init.record import results
from prune_init.record import status as run_status
from prune_init.report import published, replication
from prune_init.report.replication_figure import figure

ROOT = Path(prune_init.__file__).parents[2]
TRAINED = ("architecture=mlp", "scorer=magnitude", "recipe.batch_size=1000", "trainer=cpu")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Two finished runs with seeds 0 and 1 and invented numbers, made from the first run kept in the repository."""
    folder = tmp_path / "kept"
    (source, *_) = sorted((ROOT / keeping.KEPT).rglob("cell.json"))
    for seed, best in enumerate((0.75, 0.77)):
        (folder / str(seed)).mkdir(parents=True)
        about = json.loads(source.read_text())
        about["config"]["seed"] = seed
        (folder / str(seed) / "cell.json").write_text(json.dumps(about))
        (folder / str(seed) / "metrics.csv").write_text(f"test/top1,seconds\n{best},1800\n0.5,1800\n")
        results.write(folder / str(seed), record(seed=seed, config=about["config"], top1=best - 0.01))
    return folder


def test_a_finished_run_is_kept_without_places_and_read_back(command, tmp_path):
    assert command(*TRAINED, "recipe.epochs=2", f"results={tmp_path}/runs").code == 0
    (folder,) = keeping.collect(Path("runs"), Path("kept"), commit="c" * 40)
    (run,) = Path("runs").rglob("result.json")
    assert folder.relative_to("kept") == run.parent.relative_to("runs")
    assert {path.name for path in folder.iterdir()} == {"cell.json", "metrics.csv", "result.json"}
    assert str(tmp_path) not in "".join(path.read_text() for path in folder.iterdir())
    (cell,) = replication.read(Path("kept"))
    assert cell.about["command"] == " ".join(["python -m prune_init", *TRAINED, "recipe.epochs=2"])
    result = results.read(folder)
    assert result is not None and result.config == cell.config
    assert max(cell.top1) == pytest.approx(100 * result.top1.best)
    assert cell.hours == pytest.approx(result.seconds.training / 3600) and cell.finished


def test_an_unfinished_run_is_kept_as_far_as_it_came_and_then_finished(command, tmp_path):
    assert command(*TRAINED, "recipe.epochs=3").code == 0
    (run,) = (path.parent for path in Path("runs").rglob("result.json"))
    (run / "result.json").rename(tmp_path / "later")
    lines = (run / "metrics.csv").read_text().splitlines(keepends=True)
    (run / "metrics.csv").write_text("".join(lines[:3]))
    (folder,) = keeping.collect(Path("runs"), Path("kept"))
    (cell,) = replication.read(Path("kept"))
    assert not cell.finished and len(cell.top1) == 2 and "| 2 of 3 | (" in replication.table([cell])
    machine = json.loads((folder / "cell.json").read_text())["machine"]
    (folder / "cell.json").write_text((folder / "cell.json").read_text().replace(machine["processor"], "another"))
    (tmp_path / "later").rename(run / "result.json")
    (run / "metrics.csv").write_text("".join(lines))
    about = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps(about | {"started": "2019-01-01T10:20:00+00:00"}))  # it was resumed
    keeping.collect(Path("runs"), Path("kept"))
    (cell,) = replication.read(Path("kept"))
    assert (
        cell.finished and cell.about["started"] == about["started"] and cell.about["machine"]["processor"] == "another"
    )  # where it ran, not where it was collected
    (run / "metrics.csv").write_text("".join([lines[0], *reversed(lines[1:])]))  # another run
    (run / "status.json").write_text(json.dumps(about | {"started": "2020-01-01T10:20:00+00:00"}))
    (anew,) = keeping.collect(Path("runs"), Path("kept"))
    assert anew == folder.with_name(f"{folder.name}-begun-2020-01-01T1020")
    assert len(replication.read(Path("kept"))) == 2  # the run before it stays


def test_a_mean_of_runs_with_one_seed_says_so(kept):
    cells = replication.read(kept)
    assert "| mean of 2 |" in replication.table(cells)
    cells[1].config["seed"] = 0
    assert "| mean of 2 runs, 1 seed |" in replication.table(cells)


def test_the_table_compares_with_the_published_runs(kept):
    cells = replication.read(kept)
    theirs = published.runs(*cells[0].key)
    assert len(theirs) == 3
    first, second, both = replication.table(cells).splitlines()[2:]
    for line, best in ((first, 75), (second, 77), (both, 76)):
        points = best - mean(theirs)
        assert f"| {best:.2f} | 50.00 | " in line
        assert f" | {points:+.2f} | {points / stdev(theirs):+.1f} | 1.00 |" in line
    assert "mean of 2" in both


def test_the_figure_has_the_published_curves_and_our_points(kept):
    cells = replication.read(kept)
    (axes,) = figure(cells).figure.axes
    ours = [line for line in axes.lines if len(line.get_xdata()) == 1]
    curves = [line for line in axes.lines if len(line.get_xdata()) > 1 and line.get_linestyle() != "None"]
    assert len(curves) == len(published.scorers(*cells[0].key[:2])) == 5
    assert [float(line.get_ydata()[0]) for line in ours] == pytest.approx([76])
    assert [float(line.get_xdata()[0]) for line in ours] == pytest.approx([cells[0].key[3]])
    (kept / "1" / "result.json").unlink()
    (axes,) = figure(replication.read(kept)).figure.axes
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "#ffffff"]
    assert [float(line.get_ydata()[0]) for line in hollow] == pytest.approx([77])


def test_the_document_is_that_of_the_files(tmp_path):
    document = tmp_path / "replication.md"
    shutil.copy(ROOT / replication.DOCUMENT, document)
    replication.write(ROOT / keeping.KEPT, document)
    assert document.read_text() == (ROOT / replication.DOCUMENT).read_text()
    assert (tmp_path / "replication.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("runs/a/.hydra/config.yaml", "", r"a/\.hydra: holds no configuration of a run"),
        ("runs/a/.hydra/config.yaml", "a: [1", r"a/\.hydra: holds no configuration of a run"),
        ("runs/a/.hydra/config.yaml", "- 1", r"a/\.hydra: holds no configuration of a run"),
        ("to/n/cell.json", "{", r"--to=.*n/cell\.json: is damaged"),
        ("to/n/cell.json", "[]", r"--to=.*n/cell\.json: is not ours"),
        ("to/n/cell.json", '{"started": "before"}', r"--to=.*n: has no metrics\.csv"),
    ],
)
def test_runs_that_cannot_be_kept_are_one_line(tmp_path, monkeypatch, name, text, line):
    add(tmp_path / "runs/a", record())
    run_status.fail(tmp_path / "runs/a", "a" * 64, [], "out of luck")
    for path, content in (("runs/a/.hydra/config.yaml", "{}"), (name, text)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    if name.startswith("to"):
        monkeypatch.setattr(keeping, "_configuration", lambda *_: ({}, "n"))
    with pytest.raises(InputError, match=line):
        keeping.collect(tmp_path / "runs", tmp_path / "to")


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("cell.json", "{", "holds no run that was kept"),
        ("metrics.csv", "epoch\n1\n", "holds no run that was kept"),
        ("metrics.csv", "test/top1,seconds\n", "holds no run that was kept"),
        ("metrics.csv", "\0" * 200_000, "holds no run that was kept"),  # as a disk may hold after a power cut
    ],
)
def test_files_that_are_not_ours_are_one_line(kept, name, text, line):
    (kept / "0" / name).write_text(text)
    with pytest.raises(InputError, match=line):
        replication.read(kept)
