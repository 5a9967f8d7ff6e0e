"""Complete runs of the command on the embedded images."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpu_check.report import Report

WAYS = {
    "bf16, channels last": ["channels_last=true", "precision=bf16-mixed"],
    "compact": ["compact=true"],
}


def real(report: Report, *, quick: bool) -> None:
    """Prune ResNet-20 by SynFlow and train it for a few epochs; check that there is a result; report its accuracy."""
    common = ["scorer=synflow", "sparsity=0.98", "checkpoint=true"]
    common += ["architecture=conv", "recipe.epochs=1"] if quick else ["architecture=resnet20", "recipe.epochs=12"]
    for way, arguments in WAYS.items():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "prune_init", *common, *arguments, f"results={folder}"]
            start = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True)
            took = time.perf_counter() - start
            found = [json.loads(path.read_text()) for path in Path(folder).rglob("result.json")]
            said = {} if done.returncode == 0 else {"error": done.stderr[-300:]}
            learned = {"top1": found[0]["top1"]["last"]} if found else {}
            passes = done.returncode == 0 and len(found) == 1
            report.say(way=way, seconds=took, **learned, **said, passes=passes)
