"""Proximal policy optimisation (Schulman et al. 2017) with a recurrent agent, in one file: SAM, SDNC, LSTM or GRU, on a
T-maze and on tasks of POPGym (Morad et al. 2023) that are decided by memory.

    python ppo.py                                        # SAM learns T-mazes of up to 100 steps, some minutes
    python ppo.py --memory lstm
    python ppo.py --evaluate 100 10000 1000000           # then walks far longer ones
    python ppo.py --task repeat-previous --memory gru    # needs popgym (pip install popgym)
    python ppo.py --output run.json --checkpoint run.pt  # goes on where it was stopped

In a T-maze (Bakker 2001) an agent sees a cue at the start, walks a corridor whose places all look alike, and at its end
turns to the side that the cue showed. Only what it remembers of the first step helps.

What a recurrent agent needs beside PPO as it is everywhere: a copy of the state where each rollout begins, from which
every epoch runs the rollout's steps again, and the mask of the steps that begin an episode, before which a row is as
new (``starts``). A memory's copy costs what was written to it.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sparsam.torch import SAM, SDNC, AdaptiveClip
from torch import Tensor, nn
from torch.nn import functional as F

Array = NDArray[Any]

POPGYM = {
    "repeat-previous": "RepeatPrevious",
    "autoencode": "Autoencode",
    "concentration": "Concentration",
    "count-recall": "CountRecall",
}
MEMORIES = ("sam", "sdnc", "lstm", "gru")


# Environments. Where an episode ends, `step` returns the first observation of the next one. All tasks have a fixed
# horizon: the return up to it is what is maximised and measured, and nothing comes after it. An end there is therefore
# a termination (Pardo et al. 2018, Time limits in reinforcement learning), and advantages do not bootstrap from an
# episode's last observation. For a task that a limit only interrupts, they have to.


class Environments(Protocol):
    """Rows of one environment, which are stepped together."""

    num_observations: int
    num_actions: int

    def reset(self) -> Array:
        """First observations, (B, I)."""

    def step(self, actions: Array) -> tuple[Array, Array, Array]:
        """Observations (B, I), rewards (B,), and which episodes have ended, at the horizon as well (B,)."""


class TMaze:
    """Corridors of 1 to 98 places, each length about as likely as its double; an episode ends after 100 steps.

    Seen are: at the first place the cue, left or right; then the corridor; at its end the junction. A step forward
    costs nothing. A turn in the corridor and a step forward at the junction leave the agent where it is and cost 0.05;
    the right turn at the junction gives 1, the wrong one -1.
    """

    LEFT, RIGHT, CORRIDOR, JUNCTION = range(4)
    FORWARD = 2
    num_observations, num_actions = 4, 3

    def __init__(self, rows: int, seed: int, longest: int = 98, limit: int = 100) -> None:
        self.random = np.random.default_rng(seed)
        self.longest, self.limit = longest, limit
        self.cue, self.length, self.place, self.steps = np.zeros((4, rows), int)

    def _start(self, rows: Array) -> None:
        count = int(rows.sum())
        self.cue[rows] = self.random.integers(2, size=count)
        self.length[rows] = np.exp(self.random.uniform(0, np.log(self.longest + 1), count)).astype(int)
        self.place[rows] = self.steps[rows] = 0

    def seen(self) -> Array:
        """Observations (B, 4)."""
        middle = np.where(self.place == self.length, self.JUNCTION, self.CORRIDOR)
        return np.eye(4, dtype=np.float32)[np.where(self.place == 0, self.cue, middle)]

    def reset(self) -> Array:
        self._start(np.ones(len(self.cue), bool))
        return self.seen()

    def step(self, actions: Array) -> tuple[Array, Array, Array]:
        at_end, forward = self.place == self.length, actions == self.FORWARD
        turned = at_end & ~forward
        rewards = np.where(turned, np.where(actions == self.cue, 1.0, -1.0), np.where(at_end == forward, -0.05, 0.0))
        self.place += forward & ~at_end
        self.steps += 1
        ended = turned | (self.steps == self.limit)
        self._start(ended)
        return self.seen(), rewards, ended


class PopGym:
    """Environments of POPGym, whose observations become ones and zeros; where a task asks for the action before, that
    is seen as well."""

    def __init__(self, name: str, rows: int, seed: int) -> None:
        envs = importlib.import_module("popgym.envs")
        module = next(getattr(envs, module) for module in dir(envs) if hasattr(getattr(envs, module), name))
        self.rows = [getattr(module, name)() for _ in range(rows)]
        self.seeds: list[int | None] = [seed * 10_000 + row for row in range(rows)]
        spaces = self.rows[0].observation_space
        self.sizes = np.array([int(n) for space in getattr(spaces, "spaces", [spaces]) for n in self._counts(space)])
        self.offsets = np.cumsum(self.sizes) - self.sizes
        self.num_actions = int(self.rows[0].action_space.n)
        self.with_action = bool(self.rows[0].obs_requires_prev_action)
        self.num_observations = int(self.sizes.sum()) + self.num_actions * self.with_action

    @staticmethod
    def _counts(space: Any) -> Array:
        return np.atleast_1d(space.nvec if hasattr(space, "nvec") else space.n).ravel()

    def _reset(self, row: int) -> Any:
        seed, self.seeds[row] = self.seeds[row], None
        return self.rows[row].reset(seed=seed)[0]

    def _seen(self, observations: list[Any], actions: Array | None, ended: Array | None) -> Array:
        seen = np.zeros((len(self.rows), self.num_observations), np.float32)
        numbers = np.stack([np.concatenate([np.atleast_1d(part) for part in self._parts(of)]) for of in observations])
        np.put_along_axis(seen, numbers.astype(int) + self.offsets, 1, 1)
        if self.with_action and actions is not None and ended is not None:
            going_on = (~ended).nonzero()[0]
            seen[going_on, self.sizes.sum() + actions[going_on]] = 1
        return seen

    @staticmethod
    def _parts(observation: Any) -> tuple[Any, ...]:
        return observation if isinstance(observation, tuple) else (observation,)

    def reset(self) -> Array:
        return self._seen([self._reset(row) for row in range(len(self.rows))], None, None)

    def step(self, actions: Array) -> tuple[Array, Array, Array]:
        observations, rewards, ended = [], np.zeros(len(self.rows)), np.zeros(len(self.rows), bool)
        for row, environment in enumerate(self.rows):
            observation, rewards[row], terminated, truncated, _ = environment.step(int(actions[row]))
            ended[row] = terminated or truncated
            observations.append(self._reset(row) if ended[row] else observation)
        return self._seen(observations, actions, ended), rewards, ended


def environments(task: str, difficulty: str, rows: int, seed: int) -> Environments:
    """Rows of a task."""
    return TMaze(rows, seed) if task == "tmaze" else PopGym(POPGYM[task] + difficulty.capitalize(), rows, seed)


# The agent.


class TorchLayer(nn.Module):
    """``nn.LSTM`` or ``nn.GRU`` with the calls and states of SAM: a sequence is cut wherever a row starts."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], inputs: int, hidden: int) -> None:
        super().__init__()
        self.layer = kind(inputs, hidden)

    def forward(self, input: Tensor, state: Tensor | None, starts: Tensor) -> tuple[Tensor, Tensor]:
        """The state is (1 or 2 layers of h and c, B, H)."""
        if state is None:
            state = input.new_zeros(1 + isinstance(self.layer, nn.LSTM), input.shape[1], self.layer.hidden_size)
        cuts = [0, *(starts[1:].any(1).nonzero().flatten() + 1).tolist(), len(input)]
        outputs = []
        for first, end in itertools.pairwise(cuts):
            state = state.masked_fill(starts[first].unsqueeze(1), 0)
            before = state.chunk(2) if isinstance(self.layer, nn.LSTM) else state
            output, after = self.layer(input[first:end], before)
            state = torch.cat(after) if isinstance(after, tuple) else after
            outputs.append(output)
        return torch.cat(outputs), state


def select(state: Any, rows: Tensor) -> Any:
    """A copy of these rows of a state."""
    return state[:, rows].detach() if isinstance(state, Tensor) else state.select(rows)


class Agent(nn.Module):
    """A layer for what is seen, a memory, and two linear layers, for the policy and for the value."""

    def __init__(self, memory: str, observations: int, actions: int, options: argparse.Namespace) -> None:
        super().__init__()
        hidden = options.hidden
        self.encoder = nn.Sequential(nn.Linear(observations, hidden), nn.LayerNorm(hidden), nn.Tanh())
        width = hidden
        if memory in ("sam", "sdnc"):
            kind: Any = {"sam": SAM, "sdnc": SDNC}[memory]
            names = ["memory_size", "word_size", "num_heads", "num_reads", "controller", "masked_content"]
            names += ["sharpened_links"] if memory == "sdnc" else []
            self.memory: nn.Module = kind(hidden, hidden, **{name: getattr(options, name) for name in names})
            width += options.num_heads * options.word_size
        else:
            self.memory = TorchLayer({"lstm": nn.LSTM, "gru": nn.GRU}[memory], hidden, hidden)
        self.policy, self.value = nn.Linear(width, actions), nn.Linear(width, 1)
        nn.init.normal_(self.policy.weight, std=0.01)

    def forward(self, observations: Tensor, state: Any, starts: Tensor) -> tuple[Tensor, Tensor, Any]:
        """Logits (T, B, actions), values (T, B), and the state, of observations (T, B, I)."""
        output, state = self.memory(self.encoder(observations), state, starts=starts)
        return self.policy(output), self.value(output).squeeze(-1), state


# Learning.


class Trainer:
    """PPO: rollouts of all rows, then some epochs over them, whole rows at a time."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(options.seed)
        self.options = options
        self.environments = environments(options.task, options.difficulty, options.num_envs, options.seed)
        self.agent = Agent(options.memory, self.environments.num_observations, self.environments.num_actions, options)
        self.optimiser = torch.optim.Adam(self.agent.parameters(), lr=options.learning_rate, eps=1e-5)
        self.clip = AdaptiveClip()
        self.state: Any = None
        self.observations = torch.from_numpy(self.environments.reset())
        self.starts = torch.ones(options.num_envs, dtype=torch.bool)
        self.steps, self.seconds = 0, 0.0
        self.running = np.zeros(options.num_envs)
        self.episodes: list[tuple[int, float]] = []

    def rollout(self) -> tuple[Any, dict[str, Tensor]]:
        """The state before it, and what happened in it, (T, B, …)."""
        start = None if self.state is None else select(self.state, torch.arange(self.options.num_envs))
        lists: dict[str, list[Tensor]] = {
            name: [] for name in ("observations", "starts", "actions", "log_probability", "value", "reward", "ended")
        }
        with torch.no_grad():
            for _ in range(self.options.rollout_steps):
                logits, value, self.state = self.agent(
                    self.observations.unsqueeze(0), self.state, self.starts.unsqueeze(0)
                )
                logarithms = logits[0].log_softmax(-1)
                actions = logarithms.exp().multinomial(1)
                observations, rewards, ended = self.environments.step(actions.squeeze(1).numpy())
                lists["observations"].append(self.observations)
                lists["starts"].append(self.starts)
                lists["actions"].append(actions)
                lists["log_probability"].append(logarithms.gather(1, actions))
                lists["value"].append(value[0])
                lists["reward"].append(torch.from_numpy(rewards).float())
                lists["ended"].append(torch.from_numpy(ended))
                # What ended before this step is what starts at the next one.
                self.observations, self.starts = torch.from_numpy(observations), torch.from_numpy(ended)
                self.steps += self.options.num_envs
                self.running += rewards
                self.episodes += [(self.steps, float(total)) for total in self.running[ended]]
                self.running[ended] = 0
            # The value of what is seen next, from a copy: the rollout after this one takes the step itself.
            ahead = select(self.state, torch.arange(self.options.num_envs))
            _, following, _ = self.agent(self.observations.unsqueeze(0), ahead, self.starts.unsqueeze(0))
        steps = {name: torch.stack(tensors) for name, tensors in lists.items()}
        steps["advantage"] = self.advantages(steps, following[0])
        steps["returns"] = steps["advantage"] + steps["value"]
        return start, steps

    def advantages(self, steps: dict[str, Tensor], following: Tensor) -> Tensor:
        """Generalised advantage estimation (Schulman et al. 2016), (T, B)."""
        discount, gae_lambda = self.options.discount, self.options.gae_lambda
        advantages, advantage = torch.zeros_like(steps["value"]), torch.zeros_like(following)
        for t in reversed(range(len(advantages))):
            going_on = (~steps["ended"][t]).float()
            error = steps["reward"][t] + discount * following * going_on - steps["value"][t]
            advantage = error + discount * gae_lambda * going_on * advantage
            advantages[t], following = advantage, steps["value"][t]
        return advantages

    def update(self, start: Any, steps: dict[str, Tensor]) -> None:
        """The epochs over a rollout. Each minibatch begins with a copy of its rows' state before it."""
        options = self.options
        for _ in range(options.epochs):
            for rows in torch.randperm(options.num_envs).chunk(options.minibatches):
                batch = {name: values[:, rows] for name, values in steps.items()}
                state = None if start is None else select(start, rows)
                logits, value, _ = self.agent(batch["observations"], state, batch["starts"])
                logarithms = logits.log_softmax(-1)
                entropy = -(logarithms.exp() * logarithms).sum(-1).mean()
                ratio = (logarithms.gather(2, batch["actions"]) - batch["log_probability"]).exp().squeeze(-1)
                advantage = (batch["advantage"] - batch["advantage"].mean()) / (batch["advantage"].std() + 1e-8)
                clipped = ratio.clamp(1 - options.clip, 1 + options.clip)
                surrogate = torch.minimum(ratio * advantage, clipped * advantage).mean()
                loss = F.mse_loss(value, batch["returns"]) / 2 - surrogate - options.entropy * entropy
                self.optimiser.zero_grad()
                torch.autograd.backward(loss)
                self.clip(self.agent.parameters())
                self.optimiser.step()

    def train(self, save: Callable[[], None], report: Callable[[str], None]) -> None:
        """Until all steps are taken; saves now and then."""
        options, saved = self.options, time.monotonic()
        while self.steps < options.steps:
            began = time.monotonic()
            # The rate falls to zero over the last quarter.
            left = 1 - self.steps / options.steps
            for group in self.optimiser.param_groups:
                group["lr"] = options.learning_rate * min(1, 4 * left)
            self.update(*self.rollout())
            self.seconds += time.monotonic() - began
            shown = f"{self.steps} steps, {self.seconds:.0f} s: mean return {self.mean_return(0.05):.3f}"
            report(shown)
            if time.monotonic() - saved > options.save_seconds:
                save()
                saved = time.monotonic()
        save()

    def mean_return(self, share: float) -> float:
        """Of the episodes that ended in the latest steps, this share of all taken, and of the latest of all rows at
        least; 0 while none has ended."""
        late = sum(step > (1 - share) * self.steps for step, _ in self.episodes)
        totals = [total for _, total in self.episodes[-max(late, self.options.num_envs) :]]
        return float(np.mean(totals)) if totals else 0.0

    def curve(self) -> list[tuple[int, float]]:
        """The mean return of the episodes that ended in each twentieth of the steps."""
        width = self.options.steps / 20
        returns: dict[int, list[float]] = {}
        for step, total in self.episodes:
            returns.setdefault(min(19, int((step - 1) / width)), []).append(total)
        return [(int((twentieth + 1) * width), float(np.mean(totals))) for twentieth, totals in sorted(returns.items())]

    def save(self, path: Path) -> None:
        """Everything that goes on to the same numbers: environments and states as well."""
        modules = {name: getattr(self, name).state_dict() for name in ("agent", "optimiser", "clip")}
        attributes = {name: value for name, value in self.__dict__.items() if name not in modules}
        beside = path.with_name(path.name + ".new")
        torch.save({"attributes": attributes, "modules": modules, "random": torch.get_rng_state()}, beside)
        os.replace(beside, path)

    def load(self, path: Path) -> None:
        """Goes on from what :meth:`save` wrote."""
        checkpoint = torch.load(path, weights_only=False)
        before, now = vars(checkpoint["attributes"].pop("options")), vars(self.options)
        changed = [name for name in RUN_OPTIONS if before.get(name, RUN_OPTIONS[name][0]) != now[name]]
        if changed:
            raise SystemExit(f"{path} is of a run with other options: {', '.join(changed)}")
        self.__dict__.update(checkpoint["attributes"])
        for name, state in checkpoint["modules"].items():
            getattr(self, name).load_state_dict(state)
        torch.set_rng_state(checkpoint["random"])


# T-mazes of any length.


def resident() -> float | None:
    """MiB of this process in memory; known on Linux alone."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def walk(agent: Agent, length: int, episodes: int, seed: int, chunk: int = 2000) -> dict[str, Any]:
    """Walks corridors of one length, taking the likeliest action at every step.

    All actions are the agent's own. In the corridor it sees the same whatever it does, and only how far it has come
    depends on it: as many steps as the foremost agent is away from the junction are therefore run in one call.
    """
    maze = TMaze(episodes, seed)
    maze.reset()
    maze.length[:] = length
    state, starts = None, torch.ones(1, episodes, dtype=torch.bool)
    walking, right = np.ones(episodes, bool), np.zeros(episodes, bool)
    taken, wrong_actions, began, sizes = 0, 0, time.monotonic(), []
    with torch.no_grad():
        # An agent that errs at one step in a hundred is waited for.
        while walking.any() and taken <= 1.01 * length + 100:
            ahead = (length - maze.place)[walking]
            steps = int(min(chunk, ahead.min())) if (maze.place[walking] > 0).all() else 1
            steps = max(steps, 1)
            seen = torch.from_numpy(maze.seen()).expand(steps, -1, -1)
            logits, _, state = agent(
                seen, state, starts.expand(steps, -1) if taken == 0 else starts.new_zeros(steps, episodes)
            )
            actions = logits.argmax(-1).numpy()
            forward = actions == TMaze.FORWARD
            deciding = walking & (maze.place == length)
            right |= deciding & (actions[0] == maze.cue)
            walking &= ~(deciding & ~forward[0])
            wrong_actions += int((~forward[:, walking & ~deciding]).sum())
            maze.place[~deciding] = np.minimum(maze.place + forward.sum(0), length)[~deciding]
            taken += steps
            sizes += [size for size in (resident(),) if size is not None]
    # From a tenth of the way on, when all buffers are there.
    late = sizes[len(sizes) // 10 :]
    return {
        "cue": length,
        "episodes": episodes,
        "right": int(right.sum()),
        "undecided": int(walking.sum()),
        "wrong_actions": wrong_actions,
        "seconds": round(time.monotonic() - began, 1),
        "resident_from": round(min(late), 1) if late else None,
        "resident_to": round(max(late), 1) if late else None,
    }


# Options whose values make a run what it is.
RUN_OPTIONS = {
    "task": ("tmaze", "tmaze, or of POPGym: " + ", ".join(POPGYM)),
    "difficulty": ("easy", "of POPGym's tasks: easy, medium or hard"),
    "memory": ("sam", ", ".join(MEMORIES)),
    "seed": (1, "of weights, episodes and actions"),
    "steps": (2_000_000, "of all environments together"),
    "num_envs": (64, "environments"),
    "rollout_steps": (128, "of each environment"),
    "epochs": (4, "over each rollout"),
    "minibatches": (4, "of an epoch: whole rows, each with an update of its own"),
    "learning_rate": (1e-3, ""),
    "discount": (0.99, ""),
    "gae_lambda": (0.95, "of generalised advantage estimation"),
    "clip": (0.2, "of the ratio of probabilities"),
    "entropy": (0.01, "weight of the entropy"),
    "hidden": (64, "hidden units"),
    "controller": ("lstm", "of SAM and SDNC: lstm, gru or layer_norm_lstm"),
    "memory_size": (1024, "words"),
    "word_size": (16, "numbers in a word"),
    "num_heads": (2, "access heads"),
    "num_reads": (4, "words that a head reads"),
    "masked_content": (False, "a mask comes with every key of SAM and SDNC"),
    "sharpened_links": (False, "what SDNC reads along its links is sharpened"),
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choices = {"task": ["tmaze", *POPGYM], "difficulty": ["easy", "medium", "hard"], "memory": MEMORIES}
    for name, (default, text) in RUN_OPTIONS.items():
        kind = type(default)
        flag = "--" + name.replace("_", "-")
        if kind is bool:
            command.add_argument(flag, action="store_true", help=text)
            continue
        command.add_argument(flag, type=kind, default=default, choices=choices.get(name), help=f"{text} ({default})")
    command.add_argument("--checkpoint", type=Path, help="file to go on from, and to save to")
    command.add_argument("--save-seconds", type=float, default=60.0)
    command.add_argument("--output", type=Path, help="JSON file of the result")
    command.add_argument("--evaluate", type=int, nargs="*", default=[100, 10_000], help="lengths of T-mazes to walk")
    command.add_argument("--episodes", type=int, default=100, help="that are walked")
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("--quiet", action="store_true")
    return command


def main() -> None:
    options = parser().parse_args()
    torch.set_num_threads(options.threads)
    trainer = Trainer(options)
    if options.checkpoint is not None and options.checkpoint.exists():
        trainer.load(options.checkpoint)
        print(f"going on from step {trainer.steps}")

    def save() -> None:
        if options.checkpoint is not None:
            trainer.save(options.checkpoint)

    trainer.train(save, (lambda line: None) if options.quiet else (lambda line: print(line, flush=True)))
    result: dict[str, Any] = {name: getattr(options, name) for name in RUN_OPTIONS}
    result["parameters"] = sum(parameter.numel() for parameter in trainer.agent.parameters())
    result["seconds"] = round(trainer.seconds, 1)
    result["mean_return"] = trainer.mean_return(0.1)
    result["curve"] = trainer.curve()
    print(f"mean return of the last tenth of {trainer.steps} steps: {result['mean_return']:.3f}")

    def write() -> None:
        if options.output is not None:
            beside = options.output.with_name(options.output.name + ".new")
            beside.write_text(json.dumps(result, indent=1) + "\n")
            os.replace(beside, options.output)

    # What was learnt stays, whatever becomes of the walks.
    write()
    if options.task == "tmaze":
        result["walks"] = []
        for length in options.evaluate:
            walked = walk(trainer.agent, length, options.episodes, options.seed + 1000)
            result["walks"].append(walked)
            low, high = walked["resident_from"], walked["resident_to"]
            memory = "" if low is None else f"{low} to {high} MiB resident, "
            print(
                f"cue {length} steps back: {walked['right']} of {walked['episodes']} right, {walked['undecided']} "
                f"undecided, {walked['wrong_actions']} wrong actions on the way, {memory}{walked['seconds']} s",
                flush=True,
            )
            write()


if __name__ == "__main__":
    main()
