"""A bar over the iterations of scoring, in a terminal or a notebook."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], object]


@contextmanager
def reporter(progress: Progress | bool | None, iterations: int) -> Iterator[Progress | None]:
    """What to call with (iteration, iterations) after each one; None if nobody wants to know."""
    if progress is not True:
        yield progress or None
        return
    from tqdm.auto import tqdm  # not needed to prune

    with tqdm(total=iterations, desc="scoring") as bar:
        yield lambda *_: bar.update()
