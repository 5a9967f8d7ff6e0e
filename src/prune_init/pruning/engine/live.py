"""The remaining entries of a weight tensor as a vector, and products with the matrix that they form."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from prune_init.pruning.masks import PIECE, indices_of


class LiveWeight:
    """The structure of a weight tensor whose remaining entries, as of the last narrowing, are kept as a vector.

    The entries form a small tensor, from which output channels (rows) and input channels (columns) without entries are
    left out. The vector itself is held by the caller and passed to the methods as `entries`.

    Attributes:
        shape: the shape of the whole tensor: output channels, input channels, window.
        small: the shape of the small tensor.
        rows, columns: the channels in the small tensor, int64; None: all of them.
        indices: ascending flat indices of the entries in the small tensor, int64; None: entries fill it completely.
        multiplied, used_otherwise: whether the net multiplied by the tensor, and whether it used it in another way.
    """

    def __init__(self, shape: torch.Size) -> None:
        self.shape = self.small = shape
        self.rows: Tensor | None = None
        self.columns: Tensor | None = None
        self.indices: Tensor | None = None
        self.multiplied = self.used_otherwise = False
        self._matrix: Tensor | None = None
        self._held: tuple[Tensor, int] | None = None  # the entries that the matrix was made of, and their version
        self._gradient: Tensor | None = None
        self._matrix_is_read = self._gradient_is_taken = False  # in this iteration
        self._pieces: list[tuple[slice, slice, Tensor | None]] | None = None

    @property
    def movable(self) -> bool:
        """Whether the net only multiplies by this tensor, so that the small one can stand in for it."""
        return self.multiplied and not self.used_otherwise

    def begin_iteration(self) -> None:
        """Allow the memory of the matrix and of the gradient from the last iteration to be overwritten."""
        self._matrix_is_read = self._gradient_is_taken = False

    def narrow(self, entries: Tensor, kept: Tensor) -> Tensor:
        """Leave out all entries but the `kept` ones, and channels without any; returns the vector of kept entries."""
        mask = self.tensor(kept)
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
        """The small tensor with these entries, and zeros or False elsewhere; differentiable."""
        if self.indices is None:
            return entries.view(self.small)
        return entries.new_zeros(self.small.numel()).index_copy(0, self.indices, entries).view(self.small)

    def whole(self, entries: Tensor) -> Tensor:
        """The whole tensor with these entries, and zeros or False elsewhere."""
        small = self.tensor(entries)
        if self.rows is None or self.columns is None:
            return small
        whole = small.new_zeros(self.shape)
        whole[self.rows[:, None], self.columns] = small
        return whole

    def matrix(self, entries: Tensor) -> Tensor:
        """The small tensor as a matrix of rows by all other axes; its memory is reused from iteration to iteration."""
        if self.indices is None:
            return entries.view(self.small[0], -1)
        if not self._holds(entries):
            if self._matrix is None or self._matrix_is_read:  # a graph of this iteration may still need the old matrix
                self._matrix = entries.new_zeros(self.small[0], self.small[1:].numel())
            self._matrix.view(-1).index_copy_(0, self.indices, entries.detach())
            self._held = (entries.detach(), entries._version)
        assert self._matrix is not None  # because it holds these entries
        self._matrix_is_read = True
        return self._matrix

    def clear(self, entries: Tensor, pruned: Tensor) -> None:
        """Set the entries at the indices `pruned` to 0, also in the matrix if it is up to date."""
        held = self._holds(entries)
        entries.index_fill_(0, pruned, 0)
        if self._matrix is not None and self.indices is not None and held:
            self._matrix.view(-1).index_fill_(0, self.indices.index_select(0, pruned), 0)
        self._held = (entries.detach(), entries._version) if held else None

    def _holds(self, entries: Tensor) -> bool:
        """Whether the matrix was made of these entries in their current version; `_held` keeps the address in use."""
        if self._held is None:
            return False
        held, version = self._held
        return held.data_ptr() == entries.data_ptr() and version == entries._version

    def gradient_memory(self, entries: Tensor) -> Tensor:
        """Memory for a gradient of the entries; the first gradient of each iteration reuses the same memory.

        Fresh memory pages would cost more time than the rest of the computation.
        """
        if self._gradient_is_taken:
            return torch.empty_like(entries)
        if self._gradient is None:
            self._gradient = torch.empty_like(entries)
        self._gradient_is_taken = True
        return self._gradient

    def pieces(self) -> list[tuple[slice, slice, Tensor | None]]:
        """The matrix cut into pieces: the rows of each, the slice of its entries, and their int32 indices in it."""
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


class Product(torch.autograd.Function):
    """W x on a CPU, for the matrix W of a `LiveWeight` and x of shape (columns of W, any).

    The backward pass works piece by piece: each piece of W is read once for both gradients, and the dense gradient
    of W is never stored as a whole.
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
    """The channels, or channel 0 if there are none, so that no layer is left without channels."""
    return channels if len(channels) else channels.new_zeros(1)
