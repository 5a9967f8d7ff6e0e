"""What stands for tensors and numbers while a net is traced, and records what is done with them."""

import operator
from collections.abc import Callable
from typing import Any

from torch import fx


class Proxy(fx.Proxy):
    """A proxy that records `x += y` as what it is, and has a length; a plain one records `x = x + y` and has none."""

    def __getattr__(self, k: str) -> "Attribute":
        return Attribute(self, k)

    def __len__(self) -> int:
        return self._fixed("len")

    def __index__(self) -> int:
        return self._fixed("int")

    __int__ = __index__

    def _fixed(self, kind: str) -> int:
        tracer: Any = self.tracer
        return int(tracer.fixed(self, kind))


class Attribute(Proxy, fx.proxy.Attribute):
    """What an attribute of a proxy gives, such as a shape, or a method that may be called."""


AUGMENTED = {
    getattr(operator, f"i{name.strip('_')}"): getattr(operator, name)
    for name in "add sub mul matmul truediv floordiv mod pow and_ or_ xor lshift rshift".split()
}
"""The functions of `x += y` and the like, and those of `x + y`."""

for _function in AUGMENTED:

    def _record(self: Proxy, other: Any, function: Callable[..., Any] = _function) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    setattr(Proxy, f"__{_function.__name__}__", _record)
