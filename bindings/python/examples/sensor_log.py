"""A log of sensors: each report carries a sensor's state of 6 bits, in no order; at the end every sensor is asked for
its latest state. What is to be remembered does not grow with the log, but what is to be told apart does: older reports
of the same sensor are like the latest but for their time.

    python sensor_log.py                    # SAM; trained on 12 to 36 reports, tested on five times as many
    python sensor_log.py --model lstm       # torch.nn.LSTM in its place
"""

import argparse
import random

import torch
from sparsam.torch import SAM, SDNC
from torch import Tensor, nn

SENSORS, BITS = 12, 6
INPUTS = SENSORS + BITS + 1


def batch(rows: int, reports: int) -> tuple[Tensor, Tensor]:
    """Logs (rows x (reports + questions) x inputs), and the bits wanted at the questions (rows x questions x bits).

    An input is the sensor (one of 12), its state, and whether this is a question.
    """
    # Every sensor reports once, then whichever does.
    first = torch.rand(rows, SENSORS).argsort(1)
    others = torch.randint(SENSORS, (rows, reports - SENSORS))
    sensors = torch.cat([first, others], 1).gather(1, torch.rand(rows, reports).argsort(1))
    states = torch.randint(2, (rows, reports, BITS)).float()
    latest = torch.zeros(rows, SENSORS, BITS)
    for step in range(reports):
        latest[torch.arange(rows), sensors[:, step]] = states[:, step]
    asked = torch.rand(rows, SENSORS).argsort(1)
    one_hot = nn.functional.one_hot(torch.cat([sensors, asked], 1), SENSORS).float()
    inputs = torch.zeros(rows, reports + SENSORS, INPUTS)
    inputs[..., :SENSORS] = one_hot
    inputs[:, :reports, SENSORS:-1] = states
    inputs[:, reports:, -1] = 1
    return inputs, latest[torch.arange(rows)[:, None], asked]


class Answers(nn.Module):
    """A recurrent layer, and logits of the bits at the questions."""

    def __init__(self, model: str) -> None:
        super().__init__()
        if model == "lstm":
            self.layer: nn.Module = nn.LSTM(INPUTS, 128, batch_first=True)
            self.output: nn.Module = nn.Linear(128, BITS)
        else:
            self.layer = {"sam": SAM, "sdnc": SDNC}[model](INPUTS, 100, BITS, batch_first=True)
            self.output = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of the bits at the questions (rows x questions x bits)."""
        logits: Tensor = self.output(self.layer(inputs)[0])
        return logits[:, -SENSORS:]


def accuracy(network: Answers, reports: int, rows: int) -> float:
    """The share of sensors whose 6 bits are all right, in fresh logs."""
    with torch.no_grad():
        inputs, bits = batch(rows, reports)
        return float(((network(inputs) > 0) == (bits > 0)).all(-1).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["sam", "sdnc", "lstm"], default="sam")
    parser.add_argument("--reports", type=int, default=36, help="in the longest logs of training")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=32, help="logs in a batch")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    random.seed(arguments.seed)
    network = Answers(arguments.model)
    optimiser = torch.optim.Adam(network.parameters(), lr=arguments.learning_rate)
    for step in range(1, arguments.steps + 1):
        inputs, bits = batch(arguments.rows, random.randint(SENSORS, arguments.reports))
        loss = nn.functional.binary_cross_entropy_with_logits(network(inputs), bits)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        if step % 100 == 0 or step == arguments.steps:
            print(f"step {step}: {100 * accuracy(network, arguments.reports, 128):.1f} % right", flush=True)
    for factor in (1, 2, 5):
        reports = factor * arguments.reports
        print(f"{reports} reports: {100 * accuracy(network, reports, 128):.1f} % right", flush=True)


if __name__ == "__main__":
    main()
