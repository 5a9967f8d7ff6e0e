"""What is left of a weight tensor, as a vector, and products with the matrix that it stands for."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from prune_init.pruning.masks import PIECE, indices_of


class LiveWeight:
    """The entries of a weight tensor that were left when it was last narrowed.

    They lie in a small tensor: output channels (rows) and input channels (columns) without entries are not in it.

    Attributes:
        shape: of the whole tensor: output channels, input channels, window.
        small: shape of the small tensor.
        rows, columns: the channels that it has, int64; None: all of them.
        indices: flat indices of the entries in it, int64, ascending; None: it holds nothing else.
        multiplied, used_otherwise: what the net was seen to do with the tensor.
    """

    def __init__(self, shape: torch.Size) -> None:
        self.shape = self.small = shape
        self.rows: Tensor | None = None
        self.columns: Tensor | None = None
        self.indices: Tensor | None = None
        self.multiplied = self.used_otherwise = False
        self._matrix: Tensor | None = None
        self._held: tuple[Tensor, int] | None = None  # which entries the matrix holds, and their version
        self._gradient: Tensor | None = None
        self._matrix_is_read = self._gradient_is_taken = False  # in this iteration
        self._pieces: list[tuple[slice, slice, Tensor | None]] | None = None

    @property
    def movable(self) -> bool:
        """Whether the net only multiplies by this tensor, so that the small one can stand in for it."""
        return self.multiplied and not self.used_otherwise

    def begin_iteration(self) -> None:
        """What was computed before is no longer needed: its memory may be used again."""
        self._matrix_is_read = self._gradient_is_taken = False

    def narrow(self, entries: Tensor, kept: Tensor) -> Tensor:
        """Leave out all entries but the `kept` ones, and channels without any; returns the vector of those left."""
        mask = self._in_small(kept)
        if self.movable:
            pairs = mask.flatten(1).view(*mask.shape[:2], -1).any(2)
            rows, columns = (_some(indices_of(pairs.any(dim))) for dim in (1, 0))
            mask = mask.index_select(0, rows).index_select(1, columns)
            self.rows = rows if self.rows is None else self.rows[rows]
            self.columns = columns if self.columns is None else self.columns[columns]
        self.small, self.indices = mask.shape, indices_of(mask.flatten())
        self._matrix = self._gradient = self._pieces = self._held = None
        return entries.index_select(0, indices_of(kept))

    def tensor(self, entries: Tensor) -> Tensor:
        """The small tensor that holds these entries, zeros elsewhere; differentiable."""
        if self.indices is None:
            return entries.view(self.small)
        return entries.new_zeros(self.small.numel()).scatter(0, self.indices, entries).view(self.small)

    def whole(self, entries: Tensor) -> Tensor:
        """The whole tensor that holds these entries, zeros or False elsewhere."""
        small = self._in_small(entries)
        if self.rows is None or self.columns is None:
            return small
        whole = small.new_zeros(self.shape)
        whole[self.rows[:, None], self.columns] = small
        return whole

    def matrix(self, entries: Tensor) -> Tensor:
        """The small tensor as a matrix, rows by the rest; kept, and written to again in later iterations only."""
        if self.indices is None:
            return entries.view(self.small[0], -1)
        if not self._holds(entries):
            if self._matrix is None or self._matrix_is_read:  # a graph that reads the old one may still be needed
                self._matrix = entries.new_zeros(self.small[0], self.small[1:].numel())
            self._matrix.view(-1).index_copy_(0, self.indices, entries.detach())
            self._held = (entries.detach(), entries._version)
        assert self._matrix is not None  # because it holds something
        self._matrix_is_read = True
        return self._matrix

    def clear(self, entries: Tensor, pruned: Tensor) -> None:
        """Set the entries at these indices to 0; in the matrix as well if it holds them."""
        held = self._holds(entries)
        entries.index_fill_(0, pruned, 0)
        if self._matrix is not None and self.indices is not None and held:
            self._matrix.view(-1).index_fill_(0, self.indices.index_select(0, pruned), 0)
        self._held = (entries.detach(), entries._version) if held else None

    def _holds(self, entries: Tensor) -> bool:
        """Whether the matrix was made of these entries as they are now; holding on to them, nothing else is there."""
        if self._held is None:
            return False
        held, version = self._held
        return held.data_ptr() == entries.data_ptr() and version == entries._version

    def gradient_memory(self, entries: Tensor) -> Tensor:
        """Memory for a gradient of the entries, for the first one of an iteration the same as in those before.

        Fresh pages would cost more than the rest.
        """
        if self._gradient_is_taken:
            return torch.empty_like(entries)
        if self._gradient is None:
            self._gradient = torch.empty_like(entries)
        self._gradient_is_taken = True
        return self._gradient

    def pieces(self) -> list[tuple[slice, slice, Tensor | None]]:
        """The matrix in pieces: rows, their entries, and the indices of these in the piece, int32."""
        if self._pieces is None:
            self._pieces = list(self._cut())
        return self._pieces

    def _cut(self) -> Iterator[tuple[slice, slice, Tensor | None]]:
        width = self.small[1:].numel()
        starts = range(0, self.small[0], max(1, PIECE // width))
        edges = [start * width for start in starts] + [self.small.numel()]
        ends = edges if self.indices is None else torch.searchsorted(self.indices, torch.tensor(edges)).tolist()
        for k, start in enumerate(starts):
            some = slice(ends[k], ends[k + 1])
            indices = None if self.indices is None else (self.indices[some] - edges[k]).int()
            yield slice(start, min(start + starts.step, self.small[0])), some, indices

    def _in_small(self, entries: Tensor) -> Tensor:
        if self.indices is None:
            return entries.view(self.small)
        return entries.new_zeros(self.small.numel()).index_copy_(0, self.indices, entries).view(self.small)


class Product(torch.autograd.Function):
    """W x for the matrix W of a `LiveWeight` and x of shape (columns of W, anything), on a CPU.

    The gradient of the entries is made piece by piece, each piece of W being read once for both gradients and no
    dense gradient being written.
    """

    @staticmethod
    def forward(ctx: Any, entries: Tensor, x: Tensor, weight: LiveWeight) -> Tensor:
        """W x."""
        ctx.save_for_backward(x, entries)
        ctx.weight, ctx.matrix = weight, weight.matrix(entries)
        return ctx.matrix @ x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """Gradients of the entries and of x."""
        x, entries = ctx.saved_tensors
        found = ctx.weight.gradient_memory(entries)
        down = x.new_zeros(x.shape[1], x.shape[0]) if ctx.needs_input_grad[1] else None
        across = x.t()
        products = torch.empty_like(ctx.matrix[: ctx.weight.pieces()[0][0].stop])
        for rows, some, indices in ctx.weight.pieces():
            part = gradient[rows]
            count = rows.stop - rows.start
            if down is not None:
                torch.addmm(down, part.t(), ctx.matrix[rows], out=down)
            if indices is None:
                torch.mm(part, across, out=found[some].view(count, -1))
            else:
                torch.mm(part, across, out=products[:count])
                torch.index_select(products.view(-1), 0, indices, out=found[some])
        return found, None if down is None else down.t(), None


def _some(channels: Tensor) -> Tensor:
    """At least one: layers without channels are trouble."""
    return channels if len(channels) else channels.new_zeros(1)
