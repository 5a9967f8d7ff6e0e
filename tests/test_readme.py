"""The README's own commands and code run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torchvision

README = (Path(__file__).parent.parent / "README.md").read_text()


def commands() -> list[str]:
    """Every `python -m` line of the bash blocks, without its comment."""
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    lines = [line.split("   #")[0].split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("python -m")]


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_command(command, tmp_path):
    module, *arguments = shlex.split(command)[2:]
    if module == "prune_init":  # as written, but shorter and in a folder of its own
        arguments += [f"results={tmp_path}", "recipe.epochs=1"]
    if module == "prune_init.analysis.published":
        pytest.skip("minutes: tests/test_published.py compares a part of it")
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, cwd=tmp_path, timeout=600
    )
    assert done.returncode == 0, done.stderr
    if module == "prune_init":
        assert list(tmp_path.rglob("result.json"))


def test_there_are_commands():
    assert len(commands()) >= 9


def test_library_example(tmp_path, monkeypatch):
    import torch

    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    model = torchvision.models.resnet18(num_classes=10)
    names = {
        "model": model,
        "example_input": torch.zeros(1, 3, 32, 32),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
    }
    exec(code.replace("sparsity=0.98,", "sparsity=0.98, iterations=2,"), names)
    assert names["result"].sparsity == pytest.approx(0.98, abs=1e-6) and (tmp_path / "masks.safetensors").exists()


def test_every_choice_of_every_group_is_named():
    conf = Path(__file__).parent.parent / "conf"
    for group in ("dataset", "recipe", "lifecycle", "ablation", "logger", "scorer"):
        for choice in (conf / group).glob("*.yaml"):
            assert f"`{choice.stem}`" in README, f"{group}={choice.stem}"
