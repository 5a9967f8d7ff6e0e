"""The command line: every mistake ends in one line, and a run leaves exactly the documented files."""

import csv
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from finished import finished
from PIL import Image

from prune_init import __version__, load_masks

QUICK = ("architecture=mlp", "scorer=random", "recipe.epochs=1", "recipe.batch_size=500", "trainer=cpu")
WEIGHTS = 119_400  # prunable weights of architecture=mlp on 28x28 images
FILES = {"result.json", "masks.safetensors", "metrics.csv", "status.json"}
HYDRA = {".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml"}


def inside(folder: Path) -> set[str]:
    """The relative paths of all files below `folder`."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def contents(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in inside(folder)}


def metrics(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def runs(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.rglob("result.json"))


@pytest.mark.parametrize("place", ["file/below", "/proc/nowhere"])
def test_a_folder_that_cannot_be_made_is_refused(command, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    outcome = command(f"results={place}")
    assert outcome.code == 1 and outcome.err.count("\n") == 1
    assert place in outcome.err and "results=FOLDER" in outcome.err
    assert inside(tmp_path) == {"file"}


def test_fewer_weights_than_layers_is_a_warning(command, tmp_path):
    outcome = command(*QUICK, "sparsity=0.99998", "train=false")
    assert (outcome.code, outcome.err) == (0, "")
    assert "warning: sparsity leaves 2 weights for 6 layers" in outcome.out
    _, row = finished(tmp_path)
    assert sum(layer["kept"] for layer in row["layers"]) == 2
    assert row["connected"] is False and row["effective_sparsity"] == 1.0


def test_a_run_leaves_exactly_its_record(command, tmp_path):
    outcome = command(*QUICK, "sparsity=0.9", "seed=3")
    assert (outcome.code, outcome.err) == (0, "")
    folder, row = finished(tmp_path)
    assert inside(folder) == FILES | HYDRA
    assert folder.relative_to(tmp_path).as_posix().startswith("runs/fashion_small/mlp/random-x1.00-s3-")

    told = ("status", "scorer", "architecture", "dataset", "seed", "sparsity", "connected")
    assert [row[key] for key in told] == ["complete", "random", "mlp", "fashion_small", 3, 0.9, True]
    assert row["schema"] == 1 and row["exponent"] == pytest.approx(1.0) and 0.9 < row["effective_sparsity"] < 1
    assert row["config"]["recipe"]["batch_size"] == 500 and row["config"]["exponent"] == pytest.approx(1.0)
    assert [layer["size"] for layer in row["layers"]] == [78_400, 10_000, 10_000, 10_000, 10_000, 1_000]
    assert sum(layer["kept"] for layer in row["layers"]) == round(0.1 * WEIGHTS)
    assert (row["cost"]["passes"], row["cost"]["iterations"], row["cost"]["examples_per_iteration"]) == (0, 1, 0)
    assert row["seconds"].keys() == {"setup", "scoring", "training", "total"}
    assert 0 <= row["cost"]["seconds"] == row["seconds"]["scoring"] < row["seconds"]["total"]
    assert {"torch", "python", "prune_init"} <= row["versions"].keys() and "commit" in row
    assert row["device"].keys() > {"kind", "name", "processor", "count", "threads", "peak_memory"}
    assert (row["device"]["kind"], row["device"]["count"]) == ("cpu", 1) and row["device"]["name"]
    assert row["device"]["threads"] == torch.get_num_threads() and row["device"]["peak_memory"] > 10_000_000

    (epoch,) = metrics(folder)
    assert epoch["epoch"] == 1 and epoch["lr"] == 0.05
    for name in ("top1", "top5"):
        told = dict.fromkeys(("last", "best"), epoch[f"test/{name}"]) | {"best_epoch": 1}
        unknown = dict.fromkeys(("at_best_validation", "best_validation", "best_validation_epoch"))
        assert row[name] == told | unknown
    assert 0 < row["top1"]["last"] <= row["top5"]["last"] <= 1

    masks = load_masks(folder / "masks.safetensors")
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {
        layer["name"]: layer["kept"] for layer in row["layers"]
    }


def test_snip_pays_for_ten_images_of_each_class(command, tmp_path):
    assert command(*QUICK, "scorer=snip", "train=false").code == 0
    cost = finished(tmp_path)[1]["cost"]
    assert (cost["passes"], cost["iterations"], cost["examples_per_iteration"]) == (100, 1, 100)


def test_a_finished_run_is_not_repeated(command, tmp_path):
    command(*QUICK)
    (folder,) = runs(tmp_path)
    before, times = contents(tmp_path), {name: (folder / name).stat().st_mtime_ns for name in FILES}
    outcome = command(*QUICK)
    assert outcome.code == 0 and "finished already" in outcome.out and "warning" not in outcome.out
    assert contents(tmp_path) == before
    assert {name: (folder / name).stat().st_mtime_ns for name in FILES} == times
    asked = command(*QUICK, "export=pt2", "weights=true").out
    for key, name in (("export=pt2", "net.pt2"), ("weights=true", "weights.safetensors")):
        assert f"warning: {key}: 1 finished run has no {name}; force=true, or another results=FOLDER, runs" in asked


def test_a_finished_run_of_ones_own_class_tells_that_the_code_has_changed(command, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_scorer.py").write_text("from prune_init.scorers.magnitude import Magnitude as Mine")
    mine = (*QUICK, "scorer._target_=my_scorer.Mine", "train=false")
    assert command(*mine).code == 0
    assert finished(tmp_path)[1]["code"].keys() == {
        "my_scorer"
    }  # not those of prune_init, torch or the standard library
    assert "warning" not in command(*mine).out
    (tmp_path / "my_scorer.py").write_text("from prune_init.scorers.random import Random as Mine")
    told = "warning: the code of my_scorer has changed since 1 finished run; force=true repeats"
    assert told in command(*mine).out and told in command(*mine, "-m", "seed=0,1").out
    assert command(*mine, "force=true").code == 0 and "warning" not in command(*mine).out


def test_code_that_changes_during_a_run_is_recorded_as_it_was_at_its_start(command, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    code = "import pathlib\nfrom prune_init.scorers.magnitude import Magnitude\n\nclass Mine(Magnitude):\n"
    code += "    def __call__(self, net):\n        pathlib.Path(__file__).write_text('# changed')\n"
    code += "        return super().__call__(net)\n"
    (tmp_path / "my_changing.py").write_text(code)
    assert command(*QUICK, "scorer._target_=my_changing.Mine").code == 0
    assert (tmp_path / "my_changing.py").read_text() == "# changed"
    assert finished(tmp_path)[1]["code"] == {"my_changing": hashlib.sha256(code.encode()).hexdigest()}


def test_a_resumed_run_tells_that_the_code_of_ones_own_class_has_changed(command, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_random.py").write_text("from prune_init.scorers.random import Random as Mine")
    mine = (*QUICK, "scorer._target_=my_random.Mine", "checkpoint=true")
    assert command(*mine).code == 0
    for changed in ("", "  # changed"):
        (finished(tmp_path)[0] / "result.json").unlink()  # as if it had been interrupted
        (tmp_path / "my_random.py").write_text(f"from prune_init.scorers.random import Random as Mine{changed}")
        outcome = command(*mine)
        assert outcome.code == 0
        told = "the code of my_random has changed since last.ckpt was written" in outcome.err + outcome.out
        assert told == bool(changed)


def test_force_repeats_a_run_with_the_same_numbers(command, tmp_path):
    command(*QUICK)
    (folder,) = runs(tmp_path)
    masks, time = load_masks(folder / "masks.safetensors"), (folder / "result.json").stat().st_mtime_ns
    numbers = [{key: value for key, value in row.items() if key != "seconds"} for row in metrics(folder)]
    outcome = command(*QUICK, "force=true")
    assert outcome.code == 0 and "finished already" not in outcome.out
    assert runs(tmp_path) == [folder] and (folder / "result.json").stat().st_mtime_ns > time
    assert [{key: value for key, value in row.items() if key != "seconds"} for row in metrics(folder)] == numbers
    for name, mask in load_masks(folder / "masks.safetensors").items():
        assert torch.equal(mask, masks[name])


def test_a_forced_run_that_fails_does_not_pass_for_the_one_before(command, tmp_path):
    for place in ("train/a", "train/b", "val/a", "val/b"):
        (tmp_path / "pictures" / place).mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(tmp_path / "pictures" / place / "1.png")
    pictures = ("dataset=folder", "dataset.root=pictures", "dataset.num_classes=2", "dataset.input_shape=[3,16,16]")
    assert command(*QUICK, *pictures, "dataset.workers=0").code == 0
    (folder,) = runs(tmp_path)
    (tmp_path / "pictures/train/a/1.png").write_bytes(b"torn")
    outcome = command(*QUICK, *pictures, "dataset.workers=0", "force=true")
    assert outcome.code == 1 and "1.png: cannot be read as an image" in outcome.err
    assert runs(tmp_path) == [] and json.loads((folder / "status.json").read_text())["status"] == "failed"


@pytest.mark.parametrize("force", ["force=false", "force=true"])
def test_a_folder_belongs_to_one_configuration(command, tmp_path, force):
    command(*QUICK, "hydra.run.dir=mine")
    before = contents(tmp_path)
    outcome = command(*QUICK, "hydra.run.dir=mine", "seed=1", force)
    assert outcome.code == 1
    assert outcome.err.startswith("hydra.run.dir=mine: holds a run of another configuration")
    assert outcome.err.count("\n") == 1
    assert contents(tmp_path) == before


@pytest.mark.parametrize("left", ['{"schema": 1, "sta', "[]"])
def test_a_torn_record_is_named_and_left_alone(command, tmp_path, left):
    record = tmp_path / "mine/result.json"
    record.parent.mkdir()
    record.write_text(left)
    outcome = command(*QUICK, "hydra.run.dir=mine")
    assert outcome.code == 1
    assert outcome.err.startswith("results=") and "mine/result.json: " in outcome.err
    assert outcome.err.count("\n") == 1
    assert inside(tmp_path) == {"mine/result.json"} and record.read_text() == left


def test_a_sweep_gives_each_job_its_folder(command, tmp_path):
    assert command("-m", *QUICK, "scorer=random,magnitude").code == 0
    folders = runs(tmp_path)
    scorers = [json.loads((folder / "result.json").read_text())["scorer"] for folder in folders]
    assert scorers == ["magnitude", "random"]
    assert all(inside(folder) == FILES | HYDRA for folder in folders)
    before = contents(tmp_path)
    again = command("-m", *QUICK, "scorer=random,magnitude")
    assert again.code == 0 and again.out.endswith("2 runs, 2 of them finished\n")
    assert contents(tmp_path) == before
    asked = command("-m", *QUICK, "scorer=random,magnitude", "export=pt2")
    assert "warning: export=pt2: 2 finished runs have no net.pt2; force=true" in asked.out


def test_without_training_the_sparse_weights_are_left(command, tmp_path):
    assert command(*QUICK, "train=false").code == 0
    folder, row = finished(tmp_path)
    assert inside(folder) == {"result.json", "status.json", "masks.safetensors", "weights.safetensors"} | HYDRA
    assert set(row["top1"].values()) == {None}


def test_tensorboard_gets_curves_and_hyperparameters_with_the_outcome(command, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from tensorboard.plugins.hparams import plugin_data_pb2 as hparams

    outcome = command(*QUICK, "logger=tensorboard")
    folder, row = finished(tmp_path)
    seen = folder.relative_to(tmp_path) / "tensorboard"
    assert outcome.code == 0 and f"tensorboard --logdir {seen}\n" in outcome.out
    events = accumulator.EventAccumulator(str(seen)).Reload()
    (accuracy,) = events.Scalars("test/top1")
    assert accuracy.value == pytest.approx(row["top1"]["last"])
    (passes,) = events.Scalars("outcome/cost/passes")
    assert passes.value == row["cost"]["passes"] and "hp_metric" not in events.Tags()["scalars"]
    plugin = events.summary_metadata["_hparams_/session_start_info"].plugin_data
    given = hparams.HParamsPluginData.FromString(plugin.content).session_start_info.hparams
    assert given["scorer/name"].string_value == "random" and given["sparsity"].number_value == 0.98


def test_files_have_the_users_umask(command, tmp_path):
    assert command(*QUICK, "train=false").code == 0
    (folder,) = runs(tmp_path)
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir() if path.is_file()}
    assert {"masks.safetensors", "weights.safetensors", "result.json"} <= modes.keys() and len(set(modes.values())) == 1


def test_a_full_disk_is_one_line_that_names_the_key(command, tmp_path):
    assert command(*QUICK, "train=false").code == 0
    (folder,) = runs(tmp_path)
    (folder / "partial.result.json").symlink_to("/dev/full")
    outcome = command(*QUICK, "train=false", "force=true")
    assert outcome.code == 1 and outcome.err == (
        "results=runs: No space left on device; make room, or choose another place by results=FOLDER\n"
    )


@pytest.mark.parametrize("key", ["results", "architecture.name"])
def test_a_name_too_long_for_a_file_is_one_line_that_names_the_key(command, key):
    outcome = command("train=false", f"{key}={'x' * 300}")
    assert outcome.code == 1 and outcome.err.count("\n") == 1
    assert outcome.err.startswith(f"{key}=xxx") and "at most 255 bytes" in outcome.err


def test_a_log_is_not_cut_at_80_columns(command, tmp_path):
    name = "a_network_with_a_long_name_" * 6
    outcome = command(*QUICK, "train=false", f"architecture.name={name}")
    assert outcome.code == 0 and f"/{name}/random-" in outcome.out


def test_training_that_diverges_is_told_once(command, tmp_path):
    outcome = command(*QUICK, "scorer=magnitude", "recipe.epochs=2", "recipe.optimizer.lr=1e10")
    told = "warning: train loss is not finite in epoch 1: training has diverged; try a lower recipe.optimizer.lr"
    assert outcome.code == 0 and (outcome.out + outcome.err).count("training has diverged") == 1
    assert told in outcome.out + outcome.err


def test_version(command):
    assert command("--version").out == f"prune_init {__version__}\n"


@pytest.mark.slow
def test_the_console_script_runs_in_any_folder(tmp_path):
    script = Path(sys.executable).with_name("prune-init")
    (tmp_path / "mine.py").write_text("from prune_init.scorers.snip import Snip as Mine")
    arguments = ("experiment=smoke", "trainer=cpu", "scorer._target_=mine.Mine")
    done = subprocess.run([script, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    (folder,) = runs(tmp_path)
    assert inside(folder) == FILES | HYDRA
    assert folder.relative_to(tmp_path).as_posix() in done.stdout
