"""The estimate of hours: it times the work of the runs, and counts only runs that are not done."""

import json
from pathlib import Path

import pytest
import yaml
from hydra import initialize_config_module
from omegaconf import OmegaConf
from records import record

import prune_init
from prune_init.benchmark import estimate, stand_in, timing
from prune_init.host import compiler
from prune_init.launching import plan
from prune_init.record import results

ROOT = Path(prune_init.__file__).parents[2]
QUICK = ("architecture=mlp", "scorer=magnitude", "trainer=cpu")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows(tmp_path: Path, *arguments: str) -> list[dict]:
    estimate.main([*arguments, "--json", str(tmp_path / "e.json")])
    return json.loads((tmp_path / "e.json").read_text())["cells"]


def composed(*arguments: str):
    loader, config, jobs = estimate.sweep(arguments)
    return loader.load_sweep_config(config, jobs[0])


def test_a_run_is_timed_on_its_own_data_where_that_is_there(tmp_path, capsys):
    (row,) = rows(tmp_path, *QUICK, "recipe.epochs=7", "recipe.batch_size=64", "validation=1000", "--steps=3")
    told, seconds = capsys.readouterr().out, row["seconds"]
    assert not row["noise"] and "fashion_small/mlp/magnitude-x1.70-validation1000-epochs7 " in told
    assert (seconds["epochs"], seconds["steps"]) == (7, 4000 / 64)
    epoch = seconds["steps"] * seconds["step"] + seconds["test"] + seconds["rest"]
    assert row["hours"] == pytest.approx((seconds["start"] + 7 * epoch) / 3600)
    assert all(seconds[key] > 0 for key in ("start", "step", "test")) and list(tmp_path.glob("runs*")) == []


def test_noise_stands_in_for_files_that_are_missing(tmp_path):
    published = ("dataset=cifar10", "recipe=cifar_vgg", "architecture.widths=[8,8]", "trainer=cpu")
    (row,) = rows(tmp_path, *published, "scorer=snip", "exponent=1", "compact=true", "--steps=1")
    assert row["noise"] and row["seconds"]["steps"] == 50_000 / 128 and row["seconds"]["epochs"] == 160


@pytest.mark.parametrize("name", stand_in.SIZES)
def test_a_stand_in_has_the_shape_the_classes_and_the_published_size(name, tmp_path):
    shrunk = ["dataset.input_shape=[3,8,8]"] if name == "imagenet" else []
    with initialize_config_module("prune_init.conf", version_base="1.3"):
        cfg = composed(f"dataset={name}", "scorer=snip", "sample.per_class=1", *shrunk)
    source = stand_in.source(cfg)
    counted = (ROOT / f"conf/dataset/{name}.yaml").read_text().split("\n")[0]
    assert f"{source.train:,} + {source.test:,}" in counted and not source.real
    short = stand_in.shortened(source.dataset, 300, 40)
    assert (len(short.train), len(short.test)) == (300, 40) and short.train.shape == tuple(cfg.dataset.input_shape)
    assert len(source.dataset.sample(1, seed=0, augment=True)[0][0]) == min(256, cfg.dataset.num_classes)


def test_every_data_set_that_must_be_fetched_has_a_size():
    fetched = [path for path in (ROOT / "conf/dataset").glob("*.yaml") if "root" in yaml.safe_load(path.read_text())]
    assert {path.stem for path in fetched} - {"folder"} == set(stand_in.SIZES)


def test_finished_runs_count_by_the_time_they_took(tmp_path):
    arguments = (
        *QUICK,
        "seed=0,1,2",
        "sparsity=0.5",
        f"results={tmp_path}/there",
        "recipe.epochs=1",
        "recipe.batch_size=1000",
    )
    with initialize_config_module("prune_init.conf", version_base="1.3"):
        planned = plan.plan(*estimate.sweep(arguments))
    for run in planned:
        run.folder.mkdir(parents=True)
    seconds = {"setup": 1.0, "scoring": 2.0, "training": 7197.0, "total": 9.0}
    results.write(planned[1].folder, record(identity=planned[1].identity, seconds=seconds))
    (row,) = rows(tmp_path, *arguments, "--steps=1")
    assert (row["runs"], row["done"]) == (3, 1) and row["left"] == pytest.approx(2 * row["hours"]) != 0
    for run in planned:
        results.write(run.folder, record(identity=run.identity, seconds=seconds))
    (row,) = rows(tmp_path, *arguments)
    assert (row["runs"], row["done"], row["hours"], row["left"]) == (3, 3, 2.0, 0.0) and "seconds" not in row


def test_only_nets_that_differ_are_timed(tmp_path, monkeypatch):
    asked, timed = [], timing.timed
    monkeypatch.setattr(timing, "timed", lambda cfg, *more: asked.append(cfg.exponent) or timed(cfg, *more))
    arguments = (*QUICK, "exponent=1,2", "seed=0,1", "recipe.epochs=1", "recipe.batch_size=1000", "--steps=1")
    dense = rows(tmp_path, *arguments)
    assert [row["runs"] for row in dense] == [2, 2] and asked == [1] and dense[0]["hours"] == dense[1]["hours"]
    assert len(rows(tmp_path, *arguments, "compact=true", "scorer=synflow")) == 2 and asked == [1, 1, 2]


def test_an_estimate_that_cannot_be_written_is_shown_and_the_file_called_by_its_name(tmp_path, capsys, monkeypatch):
    found = {"machine": {"gpu": None, **dict.fromkeys(("processor", "torch", "date"), ""), "threads": 1, "load": 0}}
    row = {"cell": "a cell", "runs": 1, "done": 0, "hours": 7.0, "left": 7.0}
    monkeypatch.setattr(estimate, "measured", lambda *_: found | {"cells": [row]})
    with pytest.raises(SystemExit, match=r"^\S+/nowhere/e\.json: cannot be written \(No such file"):
        estimate.main(["--json", str(tmp_path / "nowhere/e.json")])
    assert "7 h" in capsys.readouterr().out


def test_a_cell_that_fails_does_not_hide_the_others(tmp_path, capsys):
    arguments = ("architecture=mlp", "scorer=magnitude,synflow", "exponent=1", "compact=true", "recipe.epochs=1")
    fine, collapsed = rows(tmp_path, *arguments, "trainer=cpu", "--steps=1")
    assert fine["left"] > 0 and "no path leads from input to output" in collapsed["error"] and collapsed["left"] == 0
    assert "no path leads" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("load", "threads", "said"), [(0.0, 2, False), (1.0, 1, False), (1.1, 1, True), (6.2, 2, True)]
)
def test_a_busy_machine_is_told(load, threads, said):
    note = estimate.busy(load, threads, cores=2)
    assert (note is not None) == said and (not said or f"load {load}" in note)


def test_a_run_that_only_prunes_and_one_of_many_levels(tmp_path):
    (row,) = rows(tmp_path, *QUICK, "train=false")
    assert row["seconds"]["epochs"] == 0 and row["hours"] == row["seconds"]["start"] / 3600
    (row,) = rows(tmp_path, *QUICK, "lifecycle=lottery_ticket", "recipe.epochs=2", "--steps=1")
    levels, rewind = (
        OmegaConf.load(ROOT / "conf/lifecycle/lottery_ticket.yaml")[k] for k in ("levels", "rewind_epoch")
    )
    assert row["seconds"]["epochs"] == 2 + levels * (2 - rewind)


@pytest.mark.slow
@pytest.mark.skipif(not compiler(), reason="torch.compile needs a C++ compiler")
def test_what_is_compiled_is_timed_in_a_second_epoch(tmp_path):
    with initialize_config_module("prune_init.conf", version_base="1.3"):
        cfg = composed(*QUICK, "compile=true", "recipe.batch_size=1000")
    watched = []

    class Watch(timing.Stopwatch):
        def on_train_end(self, *arguments):
            super().on_train_end(*arguments)
            watched.append(len(self.epochs))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "Stopwatch", Watch)
        found = timing.timed(cfg, stand_in.source(cfg), 1)
    assert watched == [3] and found.epochs == cfg.recipe.epochs  # starts of two epochs and the end
