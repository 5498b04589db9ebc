"""A stream: one step at a time, for as long as it comes, in no more memory than the words it stores."""

import time

import torch
from sparsam.torch import SAM

model = SAM(input_size=4, hidden_size=32, output_size=4, memory_size=100_000).eval()

_, state = model(torch.randn(1, 1, 4))
for hour in range(3):
    started = time.perf_counter()
    for _ in range(1000):
        observation = torch.randn(1, 1, 4)  # one time step of one sequence
        output, state = model(observation, state)  # the state before is used up; this one goes on
    microseconds = 1000 * (time.perf_counter() - started)
    print(f"hour {hour}: {microseconds:.0f} µs a step, remembering everything since the start")

state = state.reset([0])  # a new episode for this row; the others of a batch would keep theirs
output, state = model(torch.randn(1, 1, 4), state)
