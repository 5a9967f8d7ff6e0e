"""`masks=FILE`: a net is trained with existing masks, and nothing is scored."""

import shutil
from pathlib import Path

import pytest
import torch
from finished import finished
from safetensors.torch import load_file, save_file

from prune_init import load_masks
from prune_init.architectures.conv import conv
from prune_init.loop import prune

NET = ("architecture=conv", "architecture.widths=[4,8]", "trainer=cpu")
QUICK = (*NET, "recipe.epochs=1", "recipe.batch_size=500", "weights=true")


@pytest.fixture(autouse=True)
def masks(tmp_path: Path) -> Path:
    """Masks of SNIP at 80 %, saved by the library."""
    torch.manual_seed(5)
    net = conv(num_classes=10, input_shape=(1, 28, 28), widths=(4, 8))
    prune(net, "magnitude", 0.8).save(tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


def test_a_net_is_trained_under_given_masks(command, tmp_path, masks):
    outcome = command(*QUICK, "masks=mine.safetensors")
    assert (outcome.code, outcome.err) == (0, "") and "masks         mine.safetensors" in outcome.out
    folder, row = finished(tmp_path)
    assert folder.name.startswith("given-x0.70-s0-")
    left, given = load_masks(folder / "masks.safetensors"), load_masks(masks)
    assert left.keys() == given.keys() and all(torch.equal(mask, given[name]) for name, mask in left.items())
    weights = load_file(folder / "weights.safetensors")
    assert all(torch.equal(weights[name] != 0, mask) for name, mask in given.items())
    kept, size = (sum(int(n(mask)) for mask in given.values()) for n in (torch.sum, torch.numel))
    assert row["scorer"] == row["config"]["scorer"]["name"] == "given" and len(row["config"]["masks"]) == 64
    assert row["sparsity"] == pytest.approx(1 - kept / size, abs=1e-12) and row["exponent"] == pytest.approx(
        0.69897, abs=1e-4
    )
    assert row["cost"]["passes"] == row["cost"]["iterations"] == row["cost"]["flops"] == 0
    assert row["connected"] is True and row["effective_sparsity"] >= row["sparsity"]
    assert sum(layer["kept"] for layer in row["layers"]) == kept


def test_the_content_of_the_file_defines_the_run(command, tmp_path, masks):
    assert command(*QUICK, "masks=mine.safetensors").code == 0
    shutil.copy(masks, tmp_path / "copy.safetensors")
    again = command(*QUICK, f"masks={tmp_path}/copy.safetensors")
    assert again.code == 0 and "finished already" in again.out
    other = {name: mask.flip(0) for name, mask in load_masks(masks).items()}
    save_file(other, masks)
    third = command(*QUICK, "masks=mine.safetensors")
    assert third.code == 0 and "finished already" not in third.out
    assert len(list(tmp_path.rglob("result.json"))) == 2


def test_masks_of_a_run_lead_to_the_same_training(command, tmp_path):
    assert command(*QUICK, "scorer=snip", "sparsity=0.7").code == 0
    first, row = finished(tmp_path / "runs")
    assert command(*QUICK, f"masks={first}/masks.safetensors", "results=again").code == 0
    second, other = finished(tmp_path / "again")
    assert (first / "weights.safetensors").read_bytes() == (second / "weights.safetensors").read_bytes()
    for key in ("top1", "top5", "layers", "effective_sparsity", "connected"):
        assert row[key] == other[key], key


def test_a_sweep_over_masks_is_collected_and_shown(command, tmp_path, masks):
    save_file({name: mask.flip(0) for name, mask in load_masks(masks).items()}, tmp_path / "other.safetensors")
    done = command("-m", *QUICK, "masks=mine.safetensors,other.safetensors", "seed=0,1")
    assert done.code == 0 and done.out.count("given-x0.70-s") == 8
    for module in ("benchmark.status", "benchmark.collect", "report"):
        told = command("runs", module=f"prune_init.{module}")
        assert told.code == 0, told.err
    assert (tmp_path / "runs/results.csv").read_text().count(",given,") == 4
    assert (tmp_path / "runs/report/report.html").exists()


def test_compact_and_interrupted_runs_take_masks_too(command, tmp_path):
    run = (*QUICK, "masks=mine.safetensors", "compact=true", "checkpoint=true")
    assert command(*run).code == 0
    folder, row = finished(tmp_path)
    (folder / "result.json").unlink()
    assert command(*run, "recipe.epochs=1").code == 0
    assert finished(tmp_path)[1]["top1"] == row["top1"]


REFUSED = {  # and what the error must contain besides masks=FILE
    "masks=none.safetensors": "",
    "masks=text": "",
    "masks=.": "",
    "masks=weights": "classifier.weight is torch.float32",
    "masks=empty": "",
    "masks=7": "",
    "masks=fewer": "exclude=[classifier.weight]",
    "masks=mine.safetensors include=[features.*]": "classifier.weight",
    "masks=mine.safetensors architecture.widths=[4,9]": "features.4.weight has shape 8x4x3x3 in the file and 9x4x3x3",
    "masks=mine.safetensors scorer=snip": "scorer=snip: ",
    "masks=mine.safetensors exponent=1": "exponent=1: ",
    "masks=mine.safetensors experiment=smoke": "sparsity=0.9: ",
    "masks=mine.safetensors lifecycle=lottery_ticket": "lifecycle=lottery_ticket: ",
    "masks=mine.safetensors scorer=snip,grasp -m": "scorer=snip,grasp: ",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_a_mistake_costs_one_line(command, tmp_path, masks, arguments):
    (tmp_path / "text").write_text("no masks")
    given = load_masks(masks)
    save_file({name: mask.float() for name, mask in given.items()}, tmp_path / "weights")
    save_file({name: mask & False for name, mask in given.items()}, tmp_path / "empty")
    save_file({name: mask for name, mask in given.items() if name != "classifier.weight"}, tmp_path / "fewer")
    before = sorted(tmp_path.iterdir())
    outcome = command(*NET, *arguments.split())
    assert outcome.code == 1 and outcome.err.count("\n") == 1
    assert arguments.split()[0] in outcome.err and REFUSED[arguments] in outcome.err
    assert sorted(tmp_path.iterdir()) == before
