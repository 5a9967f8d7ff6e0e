"""The example in examples/study, shortened: one of its twelve runs, with all of its own parts."""

import csv
import importlib
import json
from pathlib import Path

import torch

STUDY = Path(__file__).parents[1] / "examples" / "study"


def test_a_run_of_the_study_uses_all_of_its_parts(command, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(STUDY))
    parts = ("scorer=relative_magnitude", "exponent=1", "seed=0", "recipe.epochs=2")
    outcome = command("--config-dir", str(STUDY / "conf"), "experiment=rings", *parts)
    assert outcome.code == 0, outcome.err
    (folder,) = (path.parent for path in tmp_path.rglob("result.json"))
    row = json.loads((folder / "result.json").read_text())
    assert (row["scorer"], row["dataset"], row["architecture"]) == ("relative_magnitude", "rings", "normed_mlp")
    assert [layer["size"] for layer in row["layers"]] == [128, 4096, 192] and row["layers"][-1]["kept"] > 0
    epochs = list(csv.DictReader((folder / "metrics.csv").open()))
    assert len(epochs) == 2 and all(float(epoch["dead_units"]) >= 0 for epoch in epochs)
    logged = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged] == [15, 30] and logged[1]["test/top1"] == row["top1"]["last"]
    importlib.import_module("rings.table").main(tmp_path)
    accuracy = f"${100 * row['top1']['last']:.1f} \\pm 0.0$"
    assert capsys.readouterr().out == f"scorer & $10^{{1}}$ \\\\ \\hline\nrelative\\_magnitude & {accuracy} \\\\\n"


def test_the_rate_warms_up_and_norms_do_not_decay(monkeypatch):
    monkeypatch.syspath_prepend(str(STUDY))
    recipe, net = importlib.import_module("rings.recipe"), importlib.import_module("rings.net")
    model = net.normed_mlp(num_classes=3, input_shape=[2])
    optimizer = recipe.adamw(model.parameters(), lr=0.1, weight_decay=0.5)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(m.weight) for m in model if isinstance(m, torch.nn.Linear)}

    class Trainer:
        optimizers, estimated_stepping_batches = (optimizer,), 100

    rates = []
    for Trainer.global_step in range(100):
        recipe.WarmupCosine(20).on_train_batch_start(Trainer, None, None, 0)
        rates.append({group["lr"] for group in optimizer.param_groups})
    assert all(len(found) == 1 for found in rates)
    flat = [found.pop() for found in rates]
    assert flat[0] < 0.01 and max(flat) == flat[19] and flat[:20] == sorted(flat[:20])
    assert flat[19:] == sorted(flat[19:], reverse=True) and flat[-1] < 1e-4
