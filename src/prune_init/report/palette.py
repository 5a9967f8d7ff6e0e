"""One colour, marker and name for each scorer, in every figure.

The colours are those of Okabe and Ito (2008, "Color universal design"), which people with the common kinds of colour
blindness can tell apart. In place of their black stands the page's text colour, which is light on a dark page.
"""

from typing import NamedTuple

INK, FAINT, GRID = "#1b1b1c", "#5f6368", "#dcdee1"
"""Colours of text, secondary text and grid lines; a page replaces them by its own, light or dark."""

BLUE, SKY, GREEN, ORANGE = "#0072B2", "#56B4E9", "#009E73", "#E69F00"
VERMILLION, PURPLE, YELLOW, GREY = "#D55E00", "#CC79A7", "#F0E442", "#999999"


class Look(NamedTuple):
    """The name, colour and marker of a scorer in figures."""

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
    """The look of a scorer; one that is not ours is shown by its own name, with a star in the text colour."""
    return _LOOKS.get(scorer, Look(scorer, INK, "*"))


def rank(scorer: str) -> tuple[int, str]:
    """A sort key: the order of scorers in every legend and table."""
    return (list(_LOOKS).index(scorer) if scorer in _LOOKS else len(_LOOKS), scorer)
