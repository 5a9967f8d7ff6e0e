"""One line for an error that the user can mend; None for a bug, which keeps its traceback."""

import sys
from collections.abc import Iterator

from hydra.errors import ConfigCompositionException, HydraException, InstantiationException, MissingConfigException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from prune_init.errors import InputError, one_of


def one_line(error: BaseException) -> str | None:
    """`key=value: what is allowed`, if `error` or what caused it says so."""
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, InputError):
            return str(cause)
        if isinstance(cause, MissingConfigException) and cause.options is not None and cause.missing_cfg_file:
            group, _, name = str(cause.missing_cfg_file).rpartition("/")
            return f"{group}={name}: {one_of(name, cause.options)}"
        if isinstance(cause, (ConfigAttributeError, ConfigKeyError)) and isinstance(error, ConfigCompositionException):
            allowed = [str(key) for key in cause.parent_node] if cause.parent_node is not None else []
            return f"{_as_given(str(cause.full_key))}: unknown key; {one_of(cause.key, allowed)}"
    if isinstance(error, InstantiationException):
        return _instantiation(error)
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return " ".join(str(error).split())
    return None


def _instantiation(error: InstantiationException) -> str | None:
    # Wrong arguments are the user's; anything else that went wrong inside the target is not explained by one line.
    if not isinstance(error.__cause__, (TypeError, ValueError, ImportError, type(None))):
        return None
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    key = next((line.removeprefix("full_key: ") for line in lines if line.startswith("full_key: ")), "")
    return f"{key}: {lines[-2] if key and len(lines) > 1 else lines[-1]}".removeprefix(": ")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _as_given(key: str) -> str:
    return next((a for a in sys.argv[1:] if a.lstrip("+~").split("=")[0] == key), key)
