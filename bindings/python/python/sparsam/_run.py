"""Runs of the command ``sparsam``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsam._network import Network

if TYPE_CHECKING:
    from torch import nn

if sys.version_info >= (3, 11):
    import tomllib


class Run:
    """A run of the command ``sparsam``: a network that it trained, and what the run's folder tells of it.

    Attributes:
        folder: of the run.
        checkpoint: the file of the network.
        configuration: what ``config.toml`` says; the task's options are in ``configuration["task"]``.
        task: what ``task.json`` keeps of the data: of sequences the kind of the targets, of a text its vocabulary;
            empty where a task makes its sequences.
        metrics: a dictionary for each evaluation during training.
    """

    def __init__(self, folder: Path, checkpoint: Path) -> None:
        self.folder = folder
        self.checkpoint = checkpoint
        self.configuration: dict[str, Any] = _toml(folder / "config.toml")
        kept = folder / "task.json"
        self.task: dict[str, Any] = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
        metrics = folder / "metrics.jsonl"
        # What stands behind the last line's end is about to be written.
        lines = metrics.read_text("utf-8").split("\n")[:-1] if metrics.exists() else []
        self.metrics: list[dict[str, Any]] = [json.loads(line) for line in lines if line]

    @cached_property
    def network(self) -> Network:
        """The network on NumPy arrays, in single precision."""
        return Network.load(self.checkpoint)

    @cached_property
    def module(self) -> nn.Module:
        """The network as a PyTorch module: one of :mod:`sparsam.torch`, of tokens behind their embeddings.

        Raises:
            ModuleNotFoundError: PyTorch is not installed.
            ValueError: it is a plain LSTM, which :attr:`network` runs.
        """
        from sparsam.torch import TokenNetwork, load_checkpoint

        if "embedding.weight" in self.network.parameters:
            return TokenNetwork.load(self.checkpoint)
        return load_checkpoint(self.checkpoint)

    def inputs(self, inputs: ArrayLike) -> NDArray[np.float32]:
        """Inputs, numbers along the last axis, as the network is to be given them: in single precision and, if the run
        has ``scale_inputs``, scaled as they were in training."""
        array = np.asarray(inputs)
        scaling = self.task.get("scaling")
        if scaling is None:
            return array.astype(np.float32)
        # As the command does it: of inputs in single precision, in double precision.
        numbers = array.astype(np.float32).astype(np.float64)
        scaled: NDArray[np.float64] = (numbers - np.array(scaling["means"])) / np.array(scaling["deviations"])
        return scaled.astype(np.float32)

    def tokens(self, text: Iterable[str]) -> NDArray[np.int64]:
        """The numbers of the tokens of a text: of a ``str`` its characters, of a list of words these. 0 is what the run
        does not know.

        Raises:
            ValueError: the run was not trained on text, or on words, where ``text`` is a ``str``.
        """
        if "vocabulary" not in self.task:
            raise ValueError(f"{self.folder} was not trained on text: it has no vocabulary")
        if isinstance(text, str) and self.configuration["task"].get("tokens") == "words":
            raise ValueError("text is a str, and the run was trained on words: pass a list of words")
        numbers = {token: number for number, token in enumerate(self.task["vocabulary"]) if number > 0}
        return np.array([numbers.get(token, 0) for token in text], np.int64)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, checkpoint={self.checkpoint.stem!r})"


def load_run(folder: str | PathLike[str], *, checkpoint: str = "best") -> Run:
    """The run in a folder that ``sparsam train`` made.

    Args:
        folder: of the run.
        checkpoint: ``"best"``, or ``"newest"``; the newest as well where there is no best yet.

    Returns:
        The run, whose ``network`` and ``module`` put out what ``sparsam predict --logits`` does for the same
        ``inputs``.

    Raises:
        ValueError: ``checkpoint`` is neither.
        FileNotFoundError: the folder holds no run.

    Example:
        >>> import sparsam
        >>> run = sparsam.load_run("runs/copy-sam-1")  # doctest: +SKIP
        >>> output, state = run.network.infer(run.inputs(input))  # doctest: +SKIP
    """
    if checkpoint not in ("best", "newest"):
        raise ValueError(f"checkpoint is {checkpoint!r}, where 'best' or 'newest' was expected")
    path = Path(folder)
    if not (path / "config.toml").is_file():
        raise FileNotFoundError(f"{path} holds no run: config.toml is missing; name the folder of one")
    file = path / "checkpoints" / f"{checkpoint}.safetensors"
    if not file.exists():
        file = path / "checkpoints" / "newest.safetensors"
    return Run(path, file)


def _toml(path: Path) -> dict[str, Any]:
    if sys.version_info < (3, 11):
        raise RuntimeError("load_run reads TOML, which takes Python 3.11; Network.load reads the checkpoint alone")
    return tomllib.loads(path.read_text("utf-8"))
