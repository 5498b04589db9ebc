"""Environments whose observations say where in its episode they stand, so that a mask can be held against them."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray


class Counting(gymnasium.Env[NDArray[np.float32], int]):  # type: ignore[misc]
    """Observations are [steps since the reset, the last action]; episodes last as long as ``lengths`` say, in turn."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, lengths: tuple[int, ...] = (3, 5, 2)) -> None:
        self.lengths, self.episode, self.place = lengths, -1, 0

    def _seen(self, action: int) -> NDArray[np.float32]:
        return np.array([self.place, action], np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.place = self.episode + 1, 0
        return self._seen(0), {}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.place += 1
        ended = self.place == self.lengths[self.episode % len(self.lengths)]
        return self._seen(int(action)), 1.0, ended, False, {}
