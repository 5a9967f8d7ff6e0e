"""One line for an error that the user can mend; None for a bug, which keeps its traceback."""

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from prune_init.errors import InputError, one_of
from prune_init.subcommands import to_type
from prune_init.swept_groups import as_typed

whole_tracebacks = False
"""Whether the user asked, by HYDRA_FULL_ERROR, for more than a line."""


def shown(error: BaseException) -> str | None:
    """`one_line`, unless the user asked for all."""
    return None if whole_tracebacks else one_line(error)


def one_line(error: BaseException) -> str | None:
    """`key=value: what is allowed`, if `error` or what caused it says so."""
    chain = list(_causes(error))
    if (full := next(filter(None, map(_of_the_disk, chain)), None)) is not None:
        return full
    for cause in chain:
        if isinstance(cause, InputError):
            return str(cause)
        if isinstance(cause, MissingConfigException) and "/" in str(cause.missing_cfg_file):
            group, _, name = str(cause.missing_cfg_file).rpartition("/")
            return f"{group}={name}: {one_of(name, cause.options or _choices(group))}"
        if isinstance(cause, OverrideParseException):
            why = str(cause.message).splitlines()[0]
            return f"{cause.override}: cannot be read ({why}); allowed: KEY=VALUE, with lists as KEY=[A,B]"
        if isinstance(cause, MissingMandatoryValue) and cause.full_key:
            return f"{cause.full_key}=???: has no default; must be given"
        if isinstance(cause, (ConfigAttributeError, ConfigKeyError)):
            if isinstance(error, ConfigCompositionException):
                return _unknown(cause)
            if isinstance(error, OmegaConfBaseException):
                return f"{cause.full_key}: is missing; must be given"
    if isinstance(error, InstantiationException):
        return refusal(error)
    if isinstance(error, (HydraException, OmegaConfBaseException)) or _raised_by_hydra(error):
        return _with_argument(error)
    if type(error).__name__ == "MisconfigurationException":  # Lightning, of its own arguments
        return " ".join(str(error).split())
    return None


def _unknown(error: ConfigAttributeError | ConfigKeyError) -> str:
    """A key that nothing has: where the configuration has keys of that name, else the nearest one beside it."""
    full, parent, name = str(error.full_key), error.parent_node, str(error.key)
    given = next((a for a in _typed() if f"{_key(a)}.".startswith(f"{full}.")), full)
    if parent is None:
        return f"{given}: unknown key"
    group, whole = full.partition(".")[0], OmegaConf.to_container(parent._get_root())
    of = f" of {group}={parent.get('name')}" if "." in full and "name" in parent else ""
    places = [place for place in _places(whole, name) if not place.startswith("hydra.")]
    meant = f"did you mean {' or '.join(places)}? " if places else ""
    beside = "allowed: " + ", ".join(sorted(map(str, parent))) if places else one_of(name, map(str, parent))
    return f"{given}: unknown key{of}; {meant}{beside}" + (
        "; see callbacks=NAME" if full == f"callbacks.{name}" else ""
    )


def _places(tree: Any, name: str, below: str = "") -> Iterator[str]:
    for key, value in tree.items() if isinstance(tree, dict) else ():
        if key == name:
            yield f"{below}{key}"
        yield from _places(value, name, f"{below}{key}.")


def _with_argument(error: BaseException) -> str:
    """What Hydra says, after the argument that it speaks of."""
    text = " ".join(str(error).split())
    if isinstance(error.__cause__, OmegaConfBaseException):
        text += f": {str(error.__cause__).splitlines()[0]}"
    given = next((a for a in _typed() if "=" in a and (a in text or f"'{_key(a)}'" in text)), "")
    if text.startswith("Ambiguous value for argument") or "requires --multirun" in text:
        text = "a sweep needs -m; a list is KEY=[A,B]"
    if text.startswith("Config group override must be"):  # it does not say which
        given = next((a for a in _typed() if a.startswith("=") or (_choices(_key(a)) and _names_nothing(a))), "")
        text = f"allowed: KEY=VALUE, or GROUP=NAME with a name that {to_type('--help')} lists"
    return f"{given}: {text}" if given else text


def refusal(error: InstantiationException) -> str | None:
    """Why a `_target_` could not be called; None if something else than its arguments is wrong."""
    cause = error.__cause__
    called = str(error).startswith("Error in call")  # else its module could not be imported
    if isinstance(cause, (InputError, TypeError, ValueError)) or type(cause).__name__ == "MisconfigurationException":
        return " ".join(str(cause).split())
    if isinstance(cause, ImportError) and called:
        return " ".join(str(cause).split())
    if isinstance(cause, (ImportError, InstantiationException, type(None))):
        return _broken_import(error) or str(error).splitlines()[0].split(", set env var")[0]
    return None


def _of_the_disk(error: BaseException) -> str | None:
    """A full disk, which every library tells in its own way, and a name that is too long for a file."""
    reason = os.strerror(errno.ENOSPC)
    if reason in str(error):
        return f"{refused('results', 'runs', f'{reason}; make room, or choose another place by results=FOLDER')}"
    if not (isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG and error.filename):
        return None
    part = max(os.fsdecode(error.filename).split("/"), key=len)
    given = (a.partition("=") for a in map(as_typed, sys.argv[1:]))
    found = max((g for g in given if g[2] and (g[2] in part or part in g[2])), key=lambda g: len(g[2]), default=None)
    key, value = ("results", part) if found is None else (found[0], found[2])
    why = f"makes a file's name of {len(os.fsencode(part))} bytes, {part[:20]}...; allowed: at most 255, shorten it"
    return f"{key}={value if len(value) < 60 else value[:57] + '...'}: {why}"


def _broken_import(error: InstantiationException) -> str | None:
    """What a module of the user raised while it was imported; None if the module is not there, or is in order."""
    origin = error.__cause__.__cause__ if isinstance(error.__cause__, ImportError) else None
    target = str(error).partition("'")[2].partition("'")[0]
    absent = isinstance(origin, ModuleNotFoundError) and f"{target}.".startswith(f"{origin.name}.")
    if origin is None or absent or isinstance(origin, AttributeError):
        return None
    frame = [f for f in traceback.extract_tb(origin.__traceback__) if not f.filename.startswith("<frozen ")][-1]
    file, line, what = frame.filename, frame.lineno, " ".join(str(origin).split())
    if isinstance(origin, SyntaxError):
        file, line, what = origin.filename or file, origin.lineno, origin.msg
    return f"importing {target} fails: {type(origin).__name__}: {what} ({file}, line {line})"


def refused(key: str, value: object, why: str) -> InputError:
    """An error of the settings at or below `key`, named as the command line gave them, else `key=value`."""
    given = " ".join(a for a in _typed() if f"{_key(a)}.".startswith(f"{key}."))
    name, _, setting = (given or f"{key}={value}").partition("=")
    return InputError(name, setting, why)


def _typed() -> list[str]:
    return [as_typed(argument) for argument in sys.argv[1:]]


def _key(argument: str) -> str:
    return argument.lstrip("+~").partition("=")[0]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _raised_by_hydra(error: BaseException) -> bool:
    """Of its own options it says in its own way what is wrong."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return isinstance(error, (ValueError, UserWarning)) and str(frame.f_globals.get("__name__")).startswith("hydra.")


def _choices(group: str) -> list[str]:
    folder = files("prune_init.conf").joinpath(group)
    return [file.name.removesuffix(".yaml") for file in folder.iterdir()] if group and folder.is_dir() else []


def _names_nothing(argument: str) -> bool:
    value = argument.partition("=")[2]
    return value == "null" or (value[:1] not in "[_" and not value[:1].isalpha())
