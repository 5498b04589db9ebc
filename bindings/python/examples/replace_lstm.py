"""Replace an LSTM by a SAM: the same call, the same shapes, and a memory of a million words."""

import torch
from sparsam.torch import SAM

lstm = torch.nn.LSTM(input_size=16, hidden_size=64)
sam = SAM(input_size=16, hidden_size=64, memory_size=1_000_000)  # no output_size: the output is [h ; r]

input = torch.randn(100, 4, 16)
for name, model, width in (("LSTM", lstm, 64), ("SAM", sam, 64 + 4 * 32)):
    head = torch.nn.Linear(width, 8)  # SAM's output has what it read beside the hidden units
    output, state = model(input)
    output, state = model(input, state)  # goes on from there
    head(output).square().mean().backward()
    print(f"{name}: output {tuple(output.shape)}, {sum(p.numel() for p in model.parameters()):,} parameters")
