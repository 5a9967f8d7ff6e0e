"""One colour, marker and name for each scorer, in every figure.

The colours are those of Okabe and Ito (2008, "Color universal design"), which people with the common kinds of colour
blindness can tell apart. Their black is the ink of the page, so that it is white on a dark one.
"""

from typing import NamedTuple

INK, FAINT, GRID = "#1b1b1c", "#5f6368", "#dcdee1"
"""Of text, of secondary text, and of grid lines; a page swaps them for its own, light or dark."""

BLUE, SKY, GREEN, ORANGE = "#0072B2", "#56B4E9", "#009E73", "#E69F00"
VERMILLION, PURPLE, YELLOW, GREY = "#D55E00", "#CC79A7", "#F0E442", "#999999"


class Look(NamedTuple):
    """How a scorer is drawn and called."""

    label: str
    color: str
    marker: str


_LOOKS = {
    "synflow": Look("SynFlow", BLUE, "o"),
    "synflow_l2": Look("SynFlow-L2", SKY, "h"),
    "snip": Look("SNIP", VERMILLION, "^"),
    "iter_snip": Look("Iter-SNIP", SKY, "P"),
    "force": Look("FORCE", YELLOW, "p"),
    "grasp": Look("GraSP", GREEN, "s"),
    "grasp_official": Look("GraSP, official code", SKY, "D"),
    "grasp_submission": Look("GraSP, first version", INK, "X"),
    "prospr": Look("ProsPr", VERMILLION, "D"),
    "ntk_sap": Look("NTK-SAP", GREEN, "P"),
    "magnitude": Look("Magnitude", ORANGE, "v"),
    "random": Look("Random", PURPLE, "d"),
    "random_erk": Look("Random, ERK", GREY, "<"),
    "random_uniform": Look("Random, uniform", YELLOW, ">"),
    "random_uniform_plus": Look("Random, uniform+", SKY, "H"),
}


def look(scorer: str) -> Look:
    """Of a scorer that is not ours: ink, a star, its own name."""
    return _LOOKS.get(scorer, Look(scorer, INK, "*"))


def rank(scorer: str) -> tuple[int, str]:
    """The order of scorers in every legend and table."""
    return (list(_LOOKS).index(scorer) if scorer in _LOOKS else len(_LOOKS), scorer)
