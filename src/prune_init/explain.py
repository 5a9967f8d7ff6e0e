"""One line for an error that the user can mend; None for a bug, which keeps its traceback."""

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from importlib.resources import files

from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from prune_init.errors import InputError, one_of
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
        group, _, name = str(getattr(cause, "missing_cfg_file", "")).rpartition("/")
        if isinstance(cause, MissingConfigException) and (group or cause.options is not None):
            options = _choices(group) if cause.options is None else cause.options  # of a list, Hydra does not look
            return f"{group}={name}: {one_of(name, options)}"
        if isinstance(cause, OverrideParseException):
            why = str(cause.message).splitlines()[0]
            return f"{cause.override}: cannot be read ({why}); allowed: KEY=VALUE, with lists as KEY=[A,B]"
        if isinstance(cause, MissingMandatoryValue) and cause.full_key:
            return f"{cause.full_key}=???: has no default; must be given"
        if isinstance(cause, (ConfigAttributeError, ConfigKeyError)) and isinstance(error, ConfigCompositionException):
            allowed = [str(key) for key in cause.parent_node] if cause.parent_node is not None else []
            if str(cause.full_key) == f"callbacks.{cause.key}":
                return f"{cause.full_key}: is none of those chosen; {one_of(cause.key, allowed)}; see callbacks=NAME"
            return f"{_as_given(str(cause.full_key))}: unknown key{_of_choice(cause)}; {one_of(cause.key, allowed)}"
    if isinstance(error, InstantiationException):
        return refusal(error)
    if type(error).__name__ == "MisconfigurationException":  # Lightning, of its own arguments
        return " ".join(str(error).split())
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        given = next((a for a in sys.argv[1:] if a.startswith("=") or _names_no_choice(a)), "")  # Hydra does not say
        return f"{given}: allowed: KEY=VALUE, or GROUP=NAME with a name that python -m prune_init --help lists"
    # Of its own options Hydra says in its own way what is wrong.
    if isinstance(error, (ValueError, UserWarning)) and _raised_by_hydra(error):
        return " ".join(str(error).split())
    missing = next((cause for cause in chain if isinstance(cause, (ConfigAttributeError, ConfigKeyError))), None)
    if missing is not None and isinstance(error, OmegaConfBaseException):
        return f"{missing.full_key}: is missing; must be given"
    if isinstance(error, ConfigCompositionException) and isinstance(error.__cause__, OmegaConfBaseException):
        return f"{' '.join(str(error).split())}: {str(error.__cause__).splitlines()[0]}"
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return " ".join(str(error).split())
    return None


def refusal(error: InstantiationException) -> str | None:
    """Why a `_target_` could not be called; None if something else than its arguments is wrong."""
    cause = error.__cause__
    if isinstance(cause, InputError):
        return str(cause)
    if isinstance(cause, ImportError) and str(error).startswith("Error in call"):  # it was told to import something
        return " ".join(str(cause).split())
    if (broken := _broken_import(error)) is not None:
        return broken
    if isinstance(cause, (TypeError, ValueError)) or type(cause).__name__ == "MisconfigurationException":
        return " ".join(str(cause).split())
    if isinstance(cause, (ImportError, InstantiationException, type(None))):
        return str(error).splitlines()[0].split(", set env var")[0]
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
    if origin is None or isinstance(origin, AttributeError):
        return None
    if isinstance(origin, ModuleNotFoundError) and f"{target}.".startswith(f"{origin.name}."):
        return None
    frames = [f for f in traceback.extract_tb(origin.__traceback__) if not f.filename.startswith("<frozen ")]
    file, line, what = frames[-1].filename, frames[-1].lineno, " ".join(str(origin).split())
    if isinstance(origin, SyntaxError):
        file, line, what = origin.filename or file, origin.lineno, origin.msg
    return f"importing {target} fails: {type(origin).__name__}: {what} ({file}, line {line})"


def refused(key: str, value: object, why: str) -> InputError:
    """An error of the settings at or below `key`, named as the command line gave them, else `key=value`."""
    given = " ".join(a for a in map(as_typed, sys.argv[1:]) if f"{a.lstrip('+~').split('=')[0]}.".startswith(f"{key}."))
    name, _, setting = (given or f"{key}={value}").partition("=")
    return InputError(name, setting, why)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _raised_by_hydra(error: BaseException) -> bool:
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).startswith("hydra.")


def _choices(group: str) -> list[str]:
    folder = files("prune_init.conf").joinpath(group)
    return [file.name.removesuffix(".yaml") for file in folder.iterdir()] if group and folder.is_dir() else []


def _names_no_choice(argument: str) -> bool:
    """Whether it is of a group, but with a value that is no name."""
    group, _, value = argument.lstrip("+~").partition("=")
    return value == "null" or (value[:1] not in "[_" and not value[:1].isalpha() and bool(_choices(group)))


def _as_given(key: str) -> str:
    return next((a for a in map(as_typed, sys.argv[1:]) if a.lstrip("+~").split("=")[0] == key), key)


def _of_choice(error: ConfigAttributeError | ConfigKeyError) -> str:
    """Which of several choices has no such key."""
    group, _, below = str(error.full_key).partition(".")
    swept = any(a.startswith(f"{group}=") and "," in a for a in sys.argv[1:])
    name = error.parent_node.get("name") if swept and "." not in below and error.parent_node is not None else None
    return f" of {group}={name}" if name else ""
