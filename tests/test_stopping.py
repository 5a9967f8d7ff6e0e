"""Runs that end before their last epoch, and batches that a net cannot be trained on."""

import pytest
from finished import finished, metrics
from torch import nn

from prune_init.errors import InputError
from prune_init.training.last_batch import check_last_batch, takes_one_image

QUICK = ("architecture=mlp", "scorer=random", "recipe.epochs=3", "recipe.batch_size=500", "trainer=cpu")


@pytest.mark.parametrize(
    ("limit", "epochs", "steps", "stopped"),
    [
        ("+trainer.max_steps=7", 1, 7, True),
        ("+trainer.max_steps=10", 1, 10, True),
        ("+trainer.max_steps=25", 3, 25, True),
        ("+trainer.max_steps=30", 3, 30, False),
        ("+trainer.max_steps=300", 3, 30, False),
        ("+trainer.max_steps=2 +trainer.accumulate_grad_batches=2", 1, 2, True),
        ("+trainer.limit_train_batches=4", 3, 12, False),
        ("+trainer.limit_train_batches=0.5", 3, 15, False),
        ("+trainer.check_val_every_n_epoch=2", 3, 30, False),
        ("+trainer.val_check_interval=4", 3, 30, False),
    ],
)
def test_a_run_that_is_stopped_is_tested_where_it_stopped(command, tmp_path, limit, epochs, steps, stopped):
    outcome = command(*QUICK, *limit.split())
    assert (outcome.code, outcome.err) == (0, "")
    (_, row), rows = finished(tmp_path), metrics(tmp_path)
    assert row["trained"] == {"epochs": epochs, "steps": steps, "stopped": stopped}
    assert len(rows) == epochs and float(rows[-1]["test/top1"]) == row["top1"]["last"] is not None
    assert all(0 < float(row["train/loss"]) < 10 for row in rows)
    assert (f"stopped after {steps} step" in outcome.out) == stopped
    assert [row["test/top1"] != "" for row in rows] == ([False, True, True] if "every" in limit else [True] * epochs)


def test_the_last_accuracy_is_that_of_the_final_net_though_tests_run_within_epochs(command, tmp_path):
    last = []
    for tests in ((), ("+trainer.val_check_interval=4",), ("+trainer.val_check_interval=0.3",)):
        assert command(*QUICK, "recipe.epochs=2", *tests, f"results={tmp_path / str(len(last))}").code == 0
        (_, row), rows = finished(tmp_path / str(len(last))), metrics(tmp_path / str(len(last)))
        assert float(rows[-1]["test/top1"]) == row["top1"]["last"]
        last.append(row["top1"]["last"])
    assert last[0] == last[1] == last[2]


def test_tests_of_a_part_are_told(command):
    outcome = command(*QUICK, "recipe.epochs=1", "+trainer.limit_val_batches=1")
    assert outcome.code == 0 and "accuracies are of 1 of 2 test batches" in outcome.out


@pytest.mark.slow
def test_a_run_that_runs_out_of_time_is_tested_where_it_stopped(command, tmp_path):
    outcome = command(*QUICK, "recipe.epochs=10000", "+trainer.max_time=00:00:00:02")
    assert (outcome.code, outcome.err) == (0, "")
    (_, row), rows = finished(tmp_path), metrics(tmp_path)
    assert row["trained"]["stopped"] is True and row["trained"]["epochs"] == len(rows) < 10000
    assert float(rows[-1]["test/top1"]) == row["top1"]["last"] and f"in epoch {len(rows)}" in outcome.out


@pytest.mark.parametrize("limit", ["+trainer.max_steps=25", "+trainer.val_check_interval=4"])
def test_a_run_that_lost_its_result_after_its_last_step_finds_it_again(command, tmp_path, limit):
    run = (*QUICK, "checkpoint=true", limit)
    assert command(*run).code == 0
    (folder, wanted), rows = finished(tmp_path), metrics(tmp_path)
    (folder / "result.json").unlink()
    assert command(*run).code == 0
    (_, found), again = finished(tmp_path), metrics(tmp_path)
    assert (found["trained"], found["top1"], again) == (wanted["trained"], wanted["top1"], rows)


@pytest.mark.parametrize(
    ("limit", "allowed"),
    [
        (
            "limit_train_batches=0.01",
            "leaves none of 10 batches; allowed: a whole number of batches, or a larger share",
        ),
        ("limit_val_batches=0.01", "leaves none of 2 batches; allowed: a whole number of batches, or a larger share"),
        ("val_check_interval=11", "allowed: up to 10, the batches of an epoch"),
    ],
)
def test_limits_that_lightning_refuses_are_refused_before_scoring(command, limit, allowed):
    outcome = command(*QUICK, f"+trainer.{limit}")
    assert (outcome.code, outcome.err) == (1, f"trainer.{limit}: {allowed}\n") and "scoring" not in outcome.out


def test_without_tests_there_is_no_accuracy(command, tmp_path):
    outcome = command(*QUICK, "+trainer.limit_val_batches=0")
    assert outcome.code == 0 and "top-1    not tested" in outcome.out
    (_, row), rows = finished(tmp_path), metrics(tmp_path)
    assert set(row["top1"].values()) == {None} and "test/top1" not in rows[0]


# -------------------------------------------------------------------------------------------------- one image left over

NARROW = ("architecture=vgg11", "scorer=random", "trainer=cpu", "recipe.epochs=1", "+trainer.limit_val_batches=1")


@pytest.mark.parametrize(
    "given",
    [
        "recipe.batch_size=4999 architecture=conv architecture.widths=[2,2]",  # several values per channel
        "recipe.batch_size=4999 train=false",
        "recipe.batch_size=4999 recipe.drop_last=true architecture=conv architecture.widths=[2,2]",
        "recipe.batch_size=7 recipe.drop_last=true +trainer.limit_train_batches=2",
        "recipe.batch_size=7 +trainer.limit_train_batches=2",  # 5000 = 714 * 7 + 2
        "recipe.batch_size=3 validation=1 +trainer.limit_train_batches=2",  # 4999 = 1666 * 3 + 1, which is not seen
    ],
)
def test_what_goes_well_is_not_refused(command, tmp_path, given):
    outcome = command(*NARROW, *given.split())
    assert (outcome.code, outcome.err) == (0, "")


FLAT = nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.BatchNorm1d(4))


def test_which_nets_take_one_image():
    pooled = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(2))
    assert takes_one_image(FLAT[:2], (1, 3, 3)) and takes_one_image(pooled[:1], (1, 9, 9))
    assert not takes_one_image(FLAT, (1, 3, 3)) and not takes_one_image(pooled, (1, 9, 9))
    assert FLAT.training and FLAT[2].num_batches_tracked == 0 and FLAT[1].weight.device.type == "cpu"


def test_each_process_can_be_left_with_one_image():
    with pytest.raises(
        InputError, match=r"recipe\.batch_size=8: the last batch of 10 images has one image in each of 2"
    ):
        check_last_batch(FLAT, (1, 3, 3), images=10, batch_size=8, world=2)
    with pytest.raises(InputError, match=r"recipe\.batch_size=2: batches have one image in each of 2 processes, which"):
        check_last_batch(FLAT, (1, 3, 3), images=10, batch_size=2, world=2)
