"""SAM with exact search in plain PyTorch, as fast as it gets there.

What autograd would do by itself, with a copy of the memory at each write and a gradient of all words at each step,
would be a poor opponent. Here the memory is changed in place, and two functions say how: going back needs the gradients
of words only where words were touched, in one buffer that is changed in place too. The search alone looks at every
word.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

EPSILON = 1e-6
# Words whose largest similarity is taken first. The best words lie in the best of these groups.
GROUP = 64


class Store:
    """The words of a batch in one matrix, row after row, and the gradients of their contents."""

    def __init__(self, rows: int, memory_size: int, word_size: int, like: Tensor) -> None:
        self.rows, self.memory_size = rows, memory_size
        self.words = like.new_zeros(rows * memory_size, word_size)
        self.inverse_norms = like.new_full((rows * memory_size,), EPSILON**-0.5)
        self.gradient = self.words.new_empty(0)
        self.last_access = torch.arange(memory_size).repeat(rows, 1) - memory_size
        self.first = torch.arange(rows)[:, None] * memory_size

    def search(self, keys: Tensor, limit: int) -> Tensor:
        """The words most similar to each key, (B, H, W) to (B, H, K)."""
        inverse_norms = self.inverse_norms.view(self.rows, 1, -1)
        return largest(keys @ self.words.view(self.rows, self.memory_size, -1).mT * inverse_norms, limit)


def largest(values: Tensor, limit: int) -> Tensor:
    """The places of the largest values of the last dimension, which is a multiple of the groups."""
    groups = values.view(*values.shape[:-1], -1, GROUP)
    best = groups.amax(-1).topk(min(limit, groups.shape[-2]), sorted=False).indices
    candidates = groups.gather(-2, best[..., None].expand(*best.shape, GROUP)).flatten(-2)
    place = candidates.topk(limit).indices
    places: Tensor = best.gather(-1, place // GROUP) * GROUP + place % GROUP
    return places


class Write(torch.autograd.Function):
    """Erases words, then adds to words."""

    @staticmethod
    def forward(ctx: Any, store: Store, order: Tensor, erased: Tensor, where: Tensor, added: Tensor) -> Tensor:
        ctx.store, ctx.erased, ctx.where = store, erased, where
        store.words.index_fill_(0, erased, 0.0)
        store.words.index_add_(0, where, added)
        changed = store.words.index_select(0, where)
        store.inverse_norms[where] = (changed.square().sum(1) + EPSILON).rsqrt()
        return order.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, order: Tensor) -> tuple[None, Tensor, None, None, Tensor]:
        gradients = ctx.store.gradient
        over_added = gradients.index_select(0, ctx.where)
        gradients.index_fill_(0, ctx.erased, 0.0)
        return None, order, None, None, over_added


class Read(torch.autograd.Function):
    """The contents of words. With ``last``, going back begins here."""

    @staticmethod
    def forward(ctx: Any, store: Store, order: Tensor, where: Tensor, last: bool) -> tuple[Tensor, Tensor]:
        ctx.store, ctx.where, ctx.last = store, where, last
        return store.words.index_select(0, where), order.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, over_read: Tensor, order: Tensor) -> tuple[None, Tensor, None, None]:
        if ctx.last:
            ctx.store.gradient = torch.zeros_like(ctx.store.words)
        ctx.store.gradient.index_add_(0, ctx.where, over_read)
        return None, order, None, None


class PlainSam(nn.Module):
    """SAM, (T, B, I) to (T, B, H + R·W). Every word written or read counts as accessed, which spares it a pass over the
    weights."""

    def __init__(
        self, input_size: int, hidden_size: int, memory_size: int, word_size: int, heads: int, reads: int
    ) -> None:
        super().__init__()
        if memory_size % GROUP:
            raise ValueError(f"memory_size is {memory_size}, where a multiple of {GROUP} was expected")
        self.sizes = (hidden_size, memory_size, word_size, heads, reads)
        self.cell = nn.LSTMCell(input_size + heads * word_size, hidden_size)
        self.interface = nn.Linear(hidden_size, heads * (2 * word_size + 3))

    def forward(self, input: Tensor) -> Tensor:
        hidden, memory_size, size, heads, reads = self.sizes
        rows = input.shape[1]
        store = Store(rows, memory_size, size, input)
        h = c = input.new_zeros(rows, hidden)
        read = input.new_zeros(rows, heads * size)
        words = torch.zeros(rows, heads, 0, dtype=torch.long)
        weights = input.new_zeros(rows, heads, 0)
        # Goes from write to read to write, so that autograd goes back through them in their order.
        order = input.new_zeros((), requires_grad=True)
        outputs = []
        for t, x in enumerate(input):
            h, c = self.cell(torch.cat([x, read], 1), (h, c))
            fields = self.interface(h).view(rows, heads, -1)
            key, strength, word, alpha, gamma = torch.split(fields, [size, 1, size, 1, 1], 2)
            alpha, gamma = alpha.sigmoid(), gamma.sigmoid()
            unused = largest(-store.last_access, heads)
            where = torch.cat([words, unused[..., None]], 2).flatten(1)
            weight = torch.cat([alpha * gamma * weights, alpha * (1 - gamma)], 2)
            added = (weight[..., None] * word[:, :, None]).flatten(0, 2)
            erased, written = (unused + store.first).flatten(), (where + store.first).flatten()
            order = Write.apply(store, order, erased, written, added)
            with torch.no_grad():
                words = store.search(key, reads)
            read_words = (words.flatten(1) + store.first).flatten()
            chosen, order = Read.apply(store, order, read_words, t + 1 == len(input))
            chosen = chosen.view(rows, heads, reads, size)
            norms = (key.square().sum(2, keepdim=True) + EPSILON).sqrt() * (chosen.square().sum(3) + EPSILON).sqrt()
            cosine = torch.einsum("bhkw,bhw->bhk", chosen, key) / norms
            weights = torch.softmax((1 + F.softplus(strength)) * cosine, 2)
            read = torch.einsum("bhk,bhkw->bhw", weights, chosen).flatten(1)
            store.last_access.scatter_(1, torch.cat([where, words.flatten(1)], 1), t)
            outputs.append(torch.cat([h, read], 1))
        return torch.stack(outputs)
