"""What the four tasks of POPGym in ``agents.py`` are worth to a player who remembers all, and to one who remembers
nothing: between the two lies what a memory can earn there.

    python popgym_players.py                        # seconds
    python popgym_players.py --difficulty medium

No player is trained. The one who remembers all plays as well as can be, but on Concentration, where it turns a card it
has not seen whenever it knows of no pair. The one who remembers nothing guesses; on Concentration it sees which cards
lie open, and turns any other, and a third player turns any card at all. On CountRecall it always names the count that
is right most often; there the third player counts the steps of the episode and nothing else, and names the count that
is right most often at this step. Needs popgym.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Generator = np.random.Generator
# An action for the observations and actions of an episode so far.
Player = Callable[[list[Any], list[int]], int]


def suit_of_before(distance: int) -> Player:
    """RepeatPrevious: the suit seen so many cards ago, the last one counted."""
    return lambda seen, _: int(seen[-distance]) if len(seen) >= distance else 0


def suits_backwards(seen: list[Any], _: list[int]) -> int:
    """Autoencode: the suits of the cards shown, the last one first."""
    # The first observation that says to play shows the last card.
    shown = next((number for number, (watching, _) in enumerate(seen) if not watching), len(seen))
    played = len(seen) - 1 - shown
    return int(seen[shown - played][1]) if played >= 0 else 0


def count_of_asked(seen: list[Any], _: list[int]) -> int:
    """CountRecall: how often the card that is asked for was seen."""
    return sum(int(dealt == seen[-1][1]) for dealt, _ in seen)


def pairs(facedown: int, random: Generator) -> Player:
    """Concentration: the other card of a pair if both have been seen, and a card not yet seen if not."""

    def player(seen: list[Any], actions: list[int]) -> int:
        known = {action: int(seen[number + 1][action]) for number, action in enumerate(actions)}
        open_now = seen[-1] != facedown
        # Two cards that are no pair are still shown after the second one was turned.
        first = actions[-1] if len(actions) % 2 else None
        if first is None and len(actions) >= 2 and known[actions[-1]] != known[actions[-2]]:
            open_now = open_now.copy()
            open_now[actions[-2:]] = False
        closed = [card for card in range(len(open_now)) if not open_now[card] and card != first]
        if first is not None:
            others = [card for card in closed if known.get(card) == known[first]]
        else:
            kinds = Counter(known[card] for card in closed if card in known)
            others = [card for card in closed if card in known and kinds[known[card]] > 1]
        unseen = [card for card in closed if card not in known]
        return int(random.choice(others[:1] or unseen or closed))

    return player


def any_closed(facedown: int, random: Generator) -> Player:
    """Concentration: any card that does not lie open."""
    return lambda seen, _: int(random.choice(np.flatnonzero(seen[-1] == facedown)))


def guess(actions: int, random: Generator) -> Player:
    """Any action."""
    return lambda *_: int(random.integers(actions))


def mean_return(environment: Any, player: Player, seeds: range) -> float:
    """The player's, over an episode of each seed."""
    returns = []
    for seed in seeds:
        seen: list[Any] = [environment.reset(seed=seed)[0]]
        actions: list[int] = []
        total, ended = 0.0, False
        while not ended:
            actions.append(player(seen, actions))
            observation, reward, terminated, truncated, _ = environment.step(actions[-1])
            seen.append(observation)
            total, ended = total + float(reward), terminated or truncated
        returns.append(total)
    return statistics.mean(returns)


def likeliest_counts(environment: Any, seeds: range) -> tuple[int, Sequence[int]]:
    """CountRecall: the count that is right most often, and the one that is so at each step."""
    right: defaultdict[int, Counter[int]] = defaultdict(Counter)

    def player(seen: list[Any], actions: list[int]) -> int:
        count = count_of_asked(seen, actions)
        right[len(actions)][count] += 1
        return count

    mean_return(environment, player, seeds)
    steps = [right[step].most_common(1)[0][0] for step in sorted(right)]
    return sum(right.values(), Counter()).most_common(1)[0][0], steps


def players(task: str, environment: Any, episodes: int) -> dict[str, Player]:
    """Those of a task, by what they remember."""
    random, actions = np.random.default_rng(1), int(environment.action_space.n)
    if task == "RepeatPrevious":
        return {"all": suit_of_before(environment.k), "nothing": guess(actions, random)}
    if task == "Autoencode":
        return {"all": suits_backwards, "nothing": guess(actions, random)}
    if task == "Concentration":
        facedown = environment.facedown_card
        closed = any_closed(facedown, random)
        return {"all": pairs(facedown, random), "nothing": closed, "nothing, any card": guess(actions, random)}
    # Of other episodes than those that are played.
    always, steps = likeliest_counts(environment, range(episodes, 400 + episodes))
    return {
        "all": count_of_asked,
        "nothing": lambda *_: always,
        "the step alone": lambda _, actions: steps[min(len(actions), len(steps) - 1)],
    }


def main() -> None:
    """Plays and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--difficulty", choices=("easy", "medium", "hard"), default="easy")
    parser.add_argument("--episodes", type=int, default=300)
    options = parser.parse_args()
    envs = importlib.import_module("popgym.envs")
    print("| task | remembers | mean return |\n|---|---|---|")
    for task, module in (
        ("RepeatPrevious", envs.repeat_previous),
        ("Autoencode", envs.autoencode),
        ("Concentration", envs.concentration),
        ("CountRecall", envs.count_recall),
    ):
        environment = getattr(module, task + options.difficulty.capitalize())()
        for remembers, player in players(task, environment, options.episodes).items():
            print(
                f"| {task} | {remembers} | {mean_return(environment, player, range(options.episodes)):.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
