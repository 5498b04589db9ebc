"""What it costs to have SAM inside a model on a GPU, where its work is still done on the CPU.

    python device.py                    # a minute; needs a GPU that PyTorch sees
    python device.py --batches 8 --steps 100

A linear layer, SAM of 100 hidden units (4 heads of 32 numbers, a million words) and a linear layer, forward and
backward over sequences of ``--steps`` steps: all of it on the CPU, and all of it on the GPU. Beside it the copies
alone: input, output and both of their gradients, the parameters and theirs. Every time is the median over
``--repeats`` calls taken in turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from sparsam.torch import SAM
from torch import Tensor, nn

INPUT, WIDTH, HIDDEN = 10, 64, 100


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(INPUT, WIDTH)
        self.sam = SAM(WIDTH, HIDDEN, WIDTH, num_heads=4, num_reads=4, word_size=32)
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = self.head(self.sam(self.embed(input))[0])
        return output


def train(model: nn.Module, input: Tensor) -> Callable[[], None]:
    def run() -> None:
        torch.autograd.backward(model(input).square().mean())

    return run


def copies(model: Model, steps: int, rows: int, device: str) -> Callable[[], None]:
    """What passes between the devices in a call and its backward pass."""
    there = [torch.zeros(steps, rows, WIDTH, device=device) for _ in range(2)]
    here = [torch.zeros(steps, rows, WIDTH) for _ in range(2)]
    parameters = [parameter.detach().to(device) for parameter in model.sam.parameters()]
    gradients = torch.zeros(sum(parameter.numel() for parameter in parameters))

    def run() -> None:
        for tensor in (*there, *parameters):
            tensor.cpu()
        for tensor in (*here, gradients):
            tensor.to(device)

    return run


def main() -> None:
    arguments = argparse.ArgumentParser(description="What SAM costs inside a model on a GPU.")
    arguments.add_argument("--batches", type=int, nargs="+", default=[8, 256], help="sequences in a batch")
    arguments.add_argument("--steps", type=int, default=50)
    arguments.add_argument("--repeats", type=int, default=15)
    arguments.add_argument("--device", default="cuda")
    given = arguments.parse_args()
    device = given.device
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    name = torch.cuda.get_device_name() if device.startswith("cuda") else device
    print(f"PyTorch {torch.__version__}, {name}, {torch.get_num_threads()} threads, {given.steps} steps\n")
    print("| batch | all on the CPU, ms | all on the GPU, ms | GPU ÷ CPU | copies alone, ms |\n|---|---|---|---|---|")
    for rows in given.batches:
        torch.manual_seed(1)
        model = Model()
        input = torch.randn(given.steps, rows, INPUT)
        moved = Model()
        moved.load_state_dict(model.state_dict())
        calls = [
            train(model, input),
            train(moved.to(device), input.to(device)),
            copies(model, given.steps, rows, device),
        ]
        times: list[list[float]] = [[] for _ in calls]
        for repeat in range(given.repeats + 1):
            for call, taken in zip(calls, times, strict=True):
                if device.startswith("cuda"):
                    torch.cuda.synchronize()
                started = time.perf_counter()
                call()
                if device.startswith("cuda"):
                    torch.cuda.synchronize()
                if repeat > 0:
                    taken.append(1e3 * (time.perf_counter() - started))
        cpu, gpu, alone = (statistics.median(taken) for taken in times)
        print(f"| {rows} | {cpu:.1f} | {gpu:.1f} | {gpu / cpu:.2f} | {alone:.2f} |")


if __name__ == "__main__":
    main()
