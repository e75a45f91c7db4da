"""Arms: the ways to run the agent that a comparison sets against each other, as data."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch

from ...agent.loop.memory import MODES
from ...errors import TrimtabError
from ...steering.dictionaries.derangement import strangers
from ...steering.dictionaries.population import Population

if TYPE_CHECKING:
    from ...steering.dictionaries.dictionary import SteeringDictionary


@dataclass(frozen=True)
class Arm:
    """One way to run the agent.

    Attributes:
        name: In tables and records.
        memory: The memory mode: what of the past goes in the prompt.
        steering: By no dictionary, the user's own, or (the controls) another user's, or the mean
            of everybody else's entries.
    """

    name: str
    memory: str = "none"
    steering: Literal["none", "own", "other", "population"] = "none"


STEERED = "steered"
"""The arm that the others are compared with."""

USUAL_MEMORY = ("relevant",)


def choose_arms(memory: Sequence[str] = USUAL_MEMORY, *, both: bool = False) -> tuple[Arm, ...]:
    """Unsteered, each memory mode, steered, and the controls.

    Args:
        memory: Modes to play; ``none`` stands for none of them, as the unsteered arm has none.
        both: Also steer with each of these memory modes.

    Raises:
        TrimtabError: An unknown mode, or one that is named twice.
    """
    unknown = [mode for mode in memory if mode not in MODES]
    if unknown or len(set(memory)) < len(memory):
        raise TrimtabError(
            f"expected different memory modes among {', '.join(MODES)}; got {', '.join(memory)}"
        )
    names = {
        mode: "memory" if mode in USUAL_MEMORY else f"memory-{mode}"
        for mode in memory
        if mode != "none"
    }
    return (
        Arm("unsteered"),
        *(Arm(name, memory=mode) for mode, name in names.items()),
        Arm(STEERED, steering="own"),
        *(Arm(f"{name}+steered", mode, "own") for mode, name in names.items() if both),
        Arm(f"{STEERED}-other", steering="other"),
        Arm(f"{STEERED}-population", steering="population"),
    )


ARMS = choose_arms()


def dictionaries_for(
    arm: Arm, dictionaries: Mapping[str, SteeringDictionary], seed: int
) -> Mapping[str, SteeringDictionary] | None:
    """What steers each user under an arm; None is no steering.

    Raises:
        TrimtabError: The control has no second user to borrow from.
    """
    if arm.steering == "none":
        return None
    if arm.steering == "own":
        return dictionaries
    other = strangers(dictionaries, seed)
    if arm.steering == "other":
        return {user: _timeless(dictionaries[other[user]]) for user in other}
    everybody = Population.of(*dictionaries.values())
    return {
        user: _of_one_entry(own, everybody.minus(Population.of(own)))
        for user, own in dictionaries.items()
    }


def _of_one_entry(own: SteeringDictionary, others: Population) -> SteeringDictionary:
    """A dictionary whose only entry, whatever the request, is the others' mean of response pairs.

    Raises:
        TrimtabError: The others have no such entry.
    """
    from ...steering.vectors.entries import Entry

    mean = others.mean("response").values
    return own.replaced(
        entries=[Entry("population", "everybody else's mean", "", "response", -sys.maxsize)],
        keys=own.keys[:1],
        vectors=torch.stack([mean[point] for point in own.points])[None],
    )


def _timeless(dictionary: SteeringDictionary) -> SteeringDictionary:
    """A stranger's dictionary with all its entries visible at any time.

    Nothing of the user at hand is in it, and a control with fewer entries than the arm that it
    controls would be the weaker one.
    """
    return dictionary.replaced(
        entries=[replace(entry, timestamp=-sys.maxsize) for entry in dictionary.entries]
    )
