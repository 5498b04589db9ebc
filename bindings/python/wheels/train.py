"""Trains a network on NumPy arrays with the installed package: what a user without a compiler does first."""

from __future__ import annotations

import numpy as np
from sparsam import Network

network = Network("sam", input_size=3, hidden_size=20, output_size=2, memory_size=1_000_000)
input = np.random.default_rng(0).standard_normal((6, 4, 3)).astype(np.float32)
losses = []
for _ in range(60):
    output, state, tape = network.forward(input)
    difference = output - input[:, :, :2]
    network.values -= 0.02 * tape.backward(difference).values
    losses.append(float((difference**2).mean()))
if losses[-1] > 0.6 * losses[0]:
    raise SystemExit(f"the network did not learn: its loss went from {losses[0]:.3f} to {losses[-1]:.3f}")
print(f"trained: loss {losses[0]:.3f} -> {losses[-1]:.3f}")
