"""Multi-query associative recall (Arora et al. 2023): pairs of a key and a value, then every key once more in another
order; what is wanted at a key is its value. An embedding, a network with a memory, and nothing but defaults and Adam.

    python recall_pairs.py                    # SAM, 8 pairs, in under half a minute
    python recall_pairs.py --model lstm       # torch.nn.LSTM in its place
    python recall_pairs.py --pairs 32 --steps 2000
"""

import argparse

import torch
from sparsam.torch import SAM, SDNC
from torch import Tensor, nn

KEYS, VALUES = 64, 64


def batch(rows: int, pairs: int) -> tuple[Tensor, Tensor]:
    """Symbols (rows x 3 times the pairs) and, at the last third of them, the values wanted (rows x pairs)."""
    keys = torch.rand(rows, KEYS).argsort(1)[:, :pairs]
    values = torch.randint(VALUES, (rows, pairs))
    shown = torch.stack([keys, KEYS + values], 2).reshape(rows, 2 * pairs)
    order = torch.rand(rows, pairs).argsort(1)
    return torch.cat([shown, keys.gather(1, order)], 1), values.gather(1, order)


class Recall(nn.Module):
    """An embedding, a recurrent layer, and logits of the values."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(KEYS + VALUES, 64)
        if model == "lstm":
            self.layer: nn.Module = nn.LSTM(64, 128, batch_first=True)
            self.output: nn.Module = nn.Linear(128, VALUES)
        else:
            self.layer = {"sam": SAM, "sdnc": SDNC}[model](64, 100, VALUES, batch_first=True)
            self.output = nn.Identity()

    def forward(self, symbols: Tensor, pairs: int) -> Tensor:
        """Logits of the values at the keys that come again (rows x pairs x values)."""
        logits: Tensor = self.output(self.layer(self.embedding(symbols))[0])
        return logits[:, 2 * pairs :]


def accuracy(network: Recall, pairs: int, rows: int) -> float:
    """The share of right values in fresh sequences."""
    with torch.no_grad():
        symbols, values = batch(rows, pairs)
        return float((network(symbols, pairs).argmax(-1) == values).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["sam", "sdnc", "lstm"], default="sam")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rows", type=int, default=64, help="sequences in a batch")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    network = Recall(arguments.model)
    optimiser = torch.optim.Adam(network.parameters(), lr=arguments.learning_rate)
    for step in range(1, arguments.steps + 1):
        symbols, values = batch(arguments.rows, arguments.pairs)
        loss = nn.functional.cross_entropy(network(symbols, arguments.pairs).flatten(0, 1), values.flatten())
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        if step % 50 == 0 or step == arguments.steps:
            right = accuracy(network, arguments.pairs, 256)
            print(f"step {step}: {100 * right:.1f} % of {arguments.pairs} pairs", flush=True)
    longer = [pairs for pairs in (8, 16, 32, 64) if pairs >= arguments.pairs]
    print(", ".join(f"{pairs} pairs: {100 * accuracy(network, pairs, 128):.1f} %" for pairs in longer))


if __name__ == "__main__":
    main()
