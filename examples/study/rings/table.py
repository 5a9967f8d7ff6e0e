"""python rings/table.py: a LaTeX table for the paper, with mean and standard deviation over seeds."""

import json
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev


def main(runs: Path = Path("runs")) -> None:
    """Print a row for each scorer and a column for each compression."""
    found = defaultdict(list)
    for path in runs.rglob("result.json"):
        row = json.loads(path.read_text())
        found[row["scorer"], row["exponent"]].append(100 * row["top1"]["last"])
    scorers, exponents = (sorted({key[place] for key in found}) for place in (0, 1))
    print(" & ".join(["scorer", *(f"$10^{{{e:g}}}$" for e in exponents)]), r"\\ \hline")
    for scorer in scorers:
        cells = (found[scorer, exponent] for exponent in exponents)
        shown = (f"${mean(c):.1f} \\pm {stdev(c) if len(c) > 1 else 0:.1f}$" if c else "--" for c in cells)
        print(" & ".join([scorer.replace("_", r"\_"), *shown]), r"\\")


if __name__ == "__main__":
    main()
