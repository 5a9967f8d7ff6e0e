"""A progress bar over the scoring iterations, in a terminal or a notebook."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], object]


@contextmanager
def reporter(progress: Progress | bool | None, iterations: int) -> Iterator[Progress]:
    """The function to call with (iteration, iterations) after each iteration."""
    if progress is not True:
        yield progress or (lambda *_: None)
        return
    from tqdm.auto import tqdm  # imported only if a bar is shown

    with tqdm(total=iterations, desc="scoring") as bar:
        yield lambda *_: bar.update()
