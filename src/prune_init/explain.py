"""One-line messages for errors that the user can correct; a bug keeps its traceback."""

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from hydra.errors import ConfigCompositionException, HydraException, InstantiationException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from prune_init.errors import InputError, one_of
from prune_init.swept_groups import as_typed

whole_tracebacks = False
"""Whether the user asked for whole tracebacks by setting HYDRA_FULL_ERROR."""

FULL, TOO_LONG = os.strerror(errno.ENOSPC), os.strerror(errno.ENAMETOOLONG)


def shown(error: BaseException) -> str | None:
    """`one_line(error)`, or None if the user asked for whole tracebacks."""
    return None if whole_tracebacks else one_line(error)


def one_line(error: BaseException) -> str | None:
    """The line to show for `error`, None for a bug.

    It is `key=value: what is allowed` if `error` or one of its causes says so, else what Hydra, OmegaConf or Lightning
    says about its settings.
    """
    chain = list(_causes(error))
    if any(FULL in str(cause) for cause in chain):  # each library raises its own type
        return str(refused("results", "runs", f"{FULL}; make room, or choose another place by results=FOLDER"))
    for cause in chain:
        if isinstance(cause, InputError):
            return str(cause)
        if TOO_LONG in str(cause):
            given = max(_typed(), key=len, default="results=runs")
            return f"{given:.80}: {TOO_LONG}; allowed: at most 255 bytes for a file or folder"
        if isinstance(cause, MissingConfigException) and cause.options:
            group, _, name = str(cause.missing_cfg_file).rpartition("/")
            return f"{group}={name}: {one_of(name, cause.options)}"
        if isinstance(cause, (ConfigAttributeError, ConfigKeyError)):
            if isinstance(error, ConfigCompositionException):
                return _unknown(cause)
            if isinstance(error, OmegaConfBaseException):
                return f"{cause.full_key}=???: is missing; must be given"
    if isinstance(error, InstantiationException):
        return refusal(error)
    if isinstance(error, (HydraException, OmegaConfBaseException)) or _raised_by_hydra(error):
        return _with_argument(_flat(error))
    return _flat(error) if _of_lightning(error) else None


def _unknown(error: ConfigAttributeError | ConfigKeyError) -> str:
    """The message for an unknown key: suggests keys of that name elsewhere, else the nearest one in the same place."""
    full, name, beside = str(error.full_key), str(error.key), error.parent_node
    given = next((a for a in _typed() if f"{key_of(a)}.".startswith(f"{full}.")), full)
    if beside is None:
        return f"{given}: unknown key"
    of = f" of {full.partition('.')[0]}={beside.get('name')}" if "." in full and "name" in beside else ""
    tree = OmegaConf.to_container(beside._get_root())
    places = [key for key, _ in dotted(tree) if f".{key}".endswith(f".{name}")]
    meant = f"did you mean {' or '.join(places)}?" if places else one_of(name, map(str, beside))
    first = "; choose it first: callbacks=NAME" if full.startswith("callbacks.") else ""
    return f"{given}: unknown key{of}; {meant}{first}"


def dotted(tree: Any, below: str = "") -> Iterator[tuple[str, Any]]:
    """All keys of a configuration (full dotted names, inner nodes included) with their values, except Hydra's own."""
    for key, value in tree.items() if isinstance(tree, dict) else ():
        if key != "hydra":
            yield f"{below}{key}", value
            yield from dotted(value, f"{below}{key}.")


def _with_argument(text: str) -> str:
    """A message of Hydra, preceded by the overrides that it is about, or by all overrides if it does not say which.

    That of a sweep's failed run names the run, or the override, already.
    """
    words = [a for a in _typed() if not a.startswith("-")]
    typed = [a for a in words if "=" in a]  # the others are options' values
    if key_of(text) in map(key_of, typed) or any(f"{a}: " in text for a in typed):
        return text
    meant = [a for a in words if f"'{key_of(a)}'" in text or (a in typed and a in text)] or typed
    return f"{' '.join(meant)}: {text}" if meant else text


def refusal(error: InstantiationException) -> str | None:
    """Why a `_target_` could not be called; None if something other than the target or its arguments is wrong."""
    cause = error.__cause__ or error
    if not (isinstance(cause, (ValueError, TypeError, ImportError, InstantiationException)) or _of_lightning(cause)):
        return None
    text, origin = _flat(cause), cause.__cause__
    if isinstance(cause, ImportError) and origin is not None:
        *_, last = traceback.extract_tb(origin.__traceback__)
        if not last.filename.startswith("<frozen "):  # a module of the user was found but fails on import
            text += f" ({last.filename}, line {last.lineno})"
    return text


def refused(key: str, value: object, why: str) -> InputError:
    """An error in the settings at or below `key`, named as on the command line, or `key=value` if not given there."""
    given = " ".join(a for a in _typed() if f"{key_of(a)}.".startswith(f"{key}."))
    name, _, setting = (given or f"{key}={value}").partition("=")
    return InputError(name, setting, why)


def _flat(error: BaseException) -> str:
    return " ".join(str(error).split())


def _typed() -> list[str]:
    return [as_typed(argument) for argument in sys.argv[1:]]


def key_of(argument: str) -> str:
    """The key that an argument such as `+scorer.temperature=3` sets: `scorer.temperature`."""
    return argument.lstrip("+~").partition("=")[0]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _of_lightning(error: BaseException) -> bool:
    """Whether Lightning refused one of its own arguments."""
    return type(error).__name__ == "MisconfigurationException"


def _raised_by_hydra(error: BaseException) -> bool:
    """Whether Hydra refused one of its options."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return isinstance(error, (ValueError, UserWarning)) and str(frame.f_globals.get("__name__")).startswith("hydra.")
