"""The models' equations in plain PyTorch, one sequence and one step at a time: slow, short, and nothing in common with
what they are compared with. The memories return what they read; gradients are cut where the models cut them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-6


def oneplus(x: Tensor) -> Tensor:
    return 1 + F.softplus(x)


def cosine(key: Tensor, words: Tensor) -> Tensor:
    """Of a key (W) with words (N, W). Equal words have equal cosines to the bit, unlike with a matrix product."""
    return (words * key).sum(1) / ((key @ key + EPSILON).sqrt() * ((words * words).sum(1) + EPSILON).sqrt())


def one_hot(word: int, like: Tensor) -> Tensor:
    vector = like.new_zeros(like.shape[0])
    vector[word] = 1
    return vector


def most_similar(key: Tensor, words: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """The words most similar to a key, ties to the lower number, and their cosines."""
    similarity = cosine(key, words)
    chosen = torch.sort(similarity.detach(), descending=True, stable=True).indices[:limit]
    return chosen, similarity[chosen]


def move_to_end(order: list[int], occurrences: list[int], total: Tensor, threshold: float) -> None:
    """Moves the words whose weights sum to more than a threshold, each to where it occurs last."""
    for word in occurrences:
        if total[word] > threshold:
            order.remove(word)
            order.append(word)


class Heads:
    """What Sparse and Dense Access Memory share: heads that each write to the words they read and to an unused one."""

    def __init__(self, memory_size: int, word_size: int, num_heads: int) -> None:
        self.size, self.heads = word_size, num_heads
        self.memory = torch.zeros(memory_size, word_size, dtype=torch.float64)
        self.weights = [self.memory.new_zeros(memory_size) for _ in range(num_heads)]

    def write(self, heads: Tensor, unused: list[int]) -> list[Tensor]:
        """Erases the unused words, then writes; gives the write weights."""
        size = self.size
        writes = []
        for h, head in enumerate(heads):
            alpha, gamma = head[2 * size + 1].sigmoid(), head[2 * size + 2].sigmoid()
            writes.append(alpha * (gamma * self.weights[h] + (1 - gamma) * one_hot(unused[h], self.memory)))
        kept = torch.ones(len(self.memory), 1, dtype=torch.float64)
        kept[unused] = 0
        self.memory = self.memory * kept
        for head, write in zip(heads, writes, strict=True):
            self.memory = self.memory + write[:, None] * head[size + 1 : 2 * size + 1]
        return writes


class Sam(Heads):
    def __init__(self, memory_size: int, word_size: int, num_heads: int, num_reads: int = 4) -> None:
        super().__init__(memory_size, word_size, num_heads)
        self.reads, self.threshold = num_reads, 0.005
        self.order = list(range(memory_size))
        self.read_words: list[list[int]] = [[] for _ in range(num_heads)]

    def step(self, interface: Tensor) -> Tensor:
        heads = interface.view(self.heads, -1)
        unused = self.order[: self.heads]
        self.writes = self.write(heads, unused)
        occurrences: list[int] = []
        for h in range(self.heads):
            occurrences += [*self.read_words[h], unused[h]]
        reads = []
        for h, head in enumerate(heads):
            chosen, similarity = most_similar(head[: self.size], self.memory, self.reads)
            weights = torch.softmax(oneplus(head[self.size]) * similarity, 0)
            self.weights[h] = torch.zeros_like(self.weights[h]).index_put((chosen,), weights)
            self.read_words[h] = chosen.tolist()
            occurrences += self.read_words[h]
            reads.append(self.weights[h] @ self.memory)
        move_to_end(self.order, occurrences, torch.stack(self.writes + self.weights).sum(0), self.threshold)
        return torch.cat(reads)


def largest(values: Tensor, limit: int) -> Tensor:
    """The places of the largest positive values, largest first, ties to the lower number."""
    order = torch.sort(values.detach(), descending=True, stable=True).indices[:limit]
    return order[values.detach()[order] > 0]


class Sdnc:
    def __init__(
        self, memory_size: int, word_size: int, num_heads: int, num_reads: int = 4, num_links: int = 8
    ) -> None:
        self.size, self.heads, self.reads, self.limit = word_size, num_heads, num_reads, num_links
        self.threshold = 0.005
        self.memory = torch.zeros(memory_size, word_size, dtype=torch.float64)
        self.order = list(range(memory_size))
        self.after, self.before = self.memory.new_zeros(2, memory_size, memory_size)
        self.precedence = self.memory.new_zeros(memory_size)
        self.weights = [self.memory.new_zeros(memory_size) for _ in range(num_heads)]
        self.read_words: list[list[int]] = [[] for _ in range(num_heads)]

    def update_links(self, write: Tensor) -> None:
        off_diagonal = 1 - torch.eye(len(write), dtype=torch.float64)
        kept = 1 - write
        self.after = (kept[:, None] * self.after + write[:, None] * self.precedence) * off_diagonal
        self.before = (kept * self.before + write * self.precedence[:, None]) * off_diagonal
        self.precedence = (1 - write.sum()) * self.precedence + write
        for row in (*self.after, *self.before, self.precedence):
            cut = torch.ones_like(row)
            cut[largest(row, self.limit)] = 0
            row[cut > 0] = 0

    def step(self, interface: Tensor) -> Tensor:
        size = self.size
        of_heads, word, write_gate, gamma = torch.split(interface, [self.heads * (size + 4), size, 1, 1])
        alpha, gamma = write_gate.sigmoid(), gamma.sigmoid()
        unused = self.order[0]
        occurrences = [place for words in self.read_words for place in words] + [unused]
        mean = torch.stack(self.weights).mean(0)
        write = alpha * (gamma * mean + (1 - gamma) * one_hot(unused, self.memory))
        self.memory = self.memory * (1 - one_hot(unused, self.memory))[:, None] + write[:, None] * word
        self.update_links(write.detach())

        reads = []
        for h, head in enumerate(of_heads.view(self.heads, size + 4)):
            chosen, similarity = most_similar(head[:size], self.memory, self.reads)
            content = torch.softmax(oneplus(head[size]) * similarity, 0)
            backward = (self.before * self.weights[h]).sum(1)
            forward = (self.after * self.weights[h]).sum(1)
            words_back, words_forth = largest(backward, self.reads), largest(forward, self.reads)
            mode = torch.softmax(head[size + 1 :], 0)
            found = torch.cat([words_back, chosen, words_forth])
            shares = torch.cat([mode[0] * backward[words_back], mode[1] * content, mode[2] * forward[words_forth]])
            self.weights[h] = torch.zeros_like(mean).index_put((found,), shares, accumulate=True)
            self.read_words[h] = list(dict.fromkeys(found.tolist()))
            occurrences += self.read_words[h]
            reads.append(self.weights[h] @ self.memory)
        self.writes = [write]
        move_to_end(self.order, occurrences, torch.stack(self.writes + self.weights).sum(0), self.threshold)
        return torch.cat(reads)


class Dam(Heads):
    def __init__(self, memory_size: int, word_size: int, num_heads: int) -> None:
        super().__init__(memory_size, word_size, num_heads)
        self.usage = self.memory.new_zeros(memory_size)

    def step(self, interface: Tensor) -> Tensor:
        size = self.size
        heads = interface.view(self.heads, -1)
        unused = torch.sort(self.usage, stable=True).indices[: self.heads].tolist()
        self.writes = self.write(heads, unused)
        self.weights = [torch.softmax(oneplus(h[size]) * cosine(h[:size], self.memory), 0) for h in heads]
        self.usage = 0.99 * self.usage + torch.stack(self.writes + self.weights).sum(0).detach()
        return torch.cat([weights @ self.memory for weights in self.weights])


class Ntm:
    def __init__(self, memory_size: int, word_size: int, num_heads: int) -> None:
        self.size, self.heads = word_size, num_heads
        self.memory = torch.full((memory_size, word_size), 1e-6, dtype=torch.float64)
        self.weights = [one_hot(0, self.memory) for _ in range(num_heads)]
        self.writes = [one_hot(0, self.memory) for _ in range(num_heads)]

    def address(self, fields: Tensor, before: Tensor) -> Tensor:
        size = self.size
        strength, gate = F.softplus(fields[size]), fields[size + 1].sigmoid()
        shift, sharpening = torch.softmax(fields[size + 2 : size + 5], 0), oneplus(fields[size + 5])
        weights = gate * torch.softmax(strength * cosine(fields[:size], self.memory), 0) + (1 - gate) * before
        weights = shift[0] * weights.roll(-1) + shift[1] * weights + shift[2] * weights.roll(1) + 1e-16
        return weights**sharpening / (weights**sharpening).sum()

    def step(self, interface: Tensor) -> Tensor:
        size, addressing = self.size, self.size + 6
        heads = interface.view(self.heads, -1)
        kept, added = torch.ones_like(self.memory), torch.zeros_like(self.memory)
        for h, head in enumerate(heads):
            self.writes[h] = self.address(head[addressing : 2 * addressing], self.writes[h])
        for head, weights in zip(heads, self.writes, strict=True):
            erase, add = head[2 * addressing :][:size].sigmoid(), head[2 * addressing + size :]
            kept = kept * (1 - weights[:, None] * erase)
            added = added + weights[:, None] * add
        self.memory = self.memory * kept + added
        for h, head in enumerate(heads):
            self.weights[h] = self.address(head[:addressing], self.weights[h])
        return torch.cat([weights @ self.memory for weights in self.weights])


class Dnc:
    def __init__(self, memory_size: int, word_size: int, num_heads: int) -> None:
        self.size, self.heads = word_size, num_heads
        self.memory = torch.zeros(memory_size, word_size, dtype=torch.float64)
        zeros = self.memory.new_zeros(memory_size)
        self.usage, self.precedence, self.writes = zeros, zeros, [zeros]
        self.links = self.memory.new_zeros(memory_size, memory_size)
        self.weights = [zeros for _ in range(num_heads)]

    def step(self, interface: Tensor) -> Tensor:
        w, r = self.size, self.heads
        sizes = [r * w, r, w, 1, w, w, r, 1, 1, 3 * r]
        keys, strengths, write_key, write_strength, erase, word, free, allocate, gate, modes = torch.split(
            interface, sizes
        )
        retained = torch.ones_like(self.usage)
        for h in range(r):
            retained = retained * (1 - free[h].sigmoid() * self.weights[h])
        written = self.writes[0].detach()
        self.usage = (self.usage + written - self.usage * written) * retained

        usage = EPSILON + (1 - EPSILON) * self.usage
        order = torch.sort(usage.detach(), stable=True).indices
        in_order = usage[order]
        before = torch.cat([usage.new_ones(1), torch.cumprod(in_order, 0)[:-1]])
        allocation = torch.zeros_like(usage).index_put((order,), (1 - in_order) * before)
        content = torch.softmax(oneplus(write_strength) * cosine(write_key, self.memory), 0)
        share = allocate.sigmoid()
        write = gate.sigmoid() * (share * allocation + (1 - share) * content)
        self.writes = [write]
        written = write[:, None]
        self.memory = self.memory * (1 - written * erase.sigmoid()) + written * word
        links = (1 - written - written.T) * self.links + written * self.precedence
        self.links = links * (1 - torch.eye(len(usage), dtype=torch.float64))
        self.precedence = (1 - write.sum()) * self.precedence + write

        for h in range(r):
            mode = torch.softmax(modes[3 * h : 3 * h + 3], 0)
            content = torch.softmax(oneplus(strengths[h]) * cosine(keys[h * w : (h + 1) * w], self.memory), 0)
            backward, forward = self.links.T @ self.weights[h], self.links @ self.weights[h]
            self.weights[h] = mode[0] * backward + mode[1] * content + mode[2] * forward
        return torch.cat([weights @ self.memory for weights in self.weights])


def controller_step(name: str, parameters: dict[str, Tensor], z: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One step of a controller by its equations, with its parameters under their names in a checkpoint."""
    hidden = h.shape[0]
    from_input = parameters["controller.weight_ih"] @ z
    from_hidden = parameters["controller.weight_hh"] @ h
    bias = parameters["controller.bias"]
    if name == "gru":
        reset, update, new = torch.split(from_input + bias[: 3 * hidden], hidden)
        of_reset, of_update, of_new = torch.split(from_hidden, hidden)
        r, u = (reset + of_reset).sigmoid(), (update + of_update).sigmoid()
        n = (new + r * (of_new + bias[3 * hidden :])).tanh()
        return (1 - u) * n + u * h, c
    layer_norm = name == "layer_norm_lstm"
    if layer_norm:
        from_input = parameters["controller.gain_ih"] * F.layer_norm(from_input, from_input.shape, eps=1e-5)
        from_hidden = parameters["controller.gain_hh"] * F.layer_norm(from_hidden, from_hidden.shape, eps=1e-5)
    i, f, g, o = torch.split(from_input + from_hidden + bias, hidden)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    shown = c
    if layer_norm:
        normalised = F.layer_norm(c, c.shape, eps=1e-5)
        shown = parameters["controller.gain_cell"] * normalised + parameters["controller.bias_cell"]
    return o.sigmoid() * shown.tanh(), c


def run(model: Any, memory: Any, input: Tensor) -> Tensor:
    """The outputs (T, O) of a module's network for one sequence (T, I), with ``memory`` beside its controller."""
    parameters = dict(model.named_parameters())
    hidden = model.hidden_size
    h = c = input.new_zeros(hidden)
    read = input.new_zeros(parameters["controller.weight_ih"].shape[1] - input.shape[1])
    outputs = []
    for x in input:
        h, c = controller_step(model.controller_name, parameters, torch.cat([x, read]), h, c)
        read = memory.step(parameters["interface.weight"] @ h + parameters["interface.bias"])
        output = torch.cat([h, read])
        if model.output_size is not None:
            output = parameters["output.weight"] @ output + parameters["output.bias"]
        outputs.append(output)
    return torch.stack(outputs)
