"""Importing the library does not import the dependencies of the command."""

import subprocess
import sys


def test_the_library_imports_torch_alone(tmp_path):
    heavy = ["pytorch_lightning", "hydra", "omegaconf", "wandb", "torchmetrics", "torchvision", "rich"]
    code = f"import sys, prune_init; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
