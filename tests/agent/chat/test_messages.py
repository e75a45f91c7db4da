"""How a request of a user is steered: by whose entries, and by everybody else's too."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from trimtab import TrimtabError
from trimtab.agent.chat.messages import steering_for
from trimtab.steering import SteeringSettings, TwoParts, population_of

PLAIN = SteeringSettings(k=2)
PARTS = replace(PLAIN, collective=2.0, personal=3.0)


@pytest.fixture
def model(letters):
    return SimpleNamespace(encoder=letters)


@pytest.fixture
def dictionaries(dictionary):
    """Three users with entries of both kinds."""
    made = {}
    for number, user in enumerate(["ann", "bob", "eve"]):
        own = dictionary(user, "a lamp", "a desk", "a mug", "a coat")
        own.entries = [
            replace(entry, contrast="context" if n % 2 else "response")
            for n, entry in enumerate(own.entries)
        ]
        own.vectors = own.vectors * (number + 1)
        made[user] = own
    return made


def test_in_two_parts_the_others_count_too(model, dictionaries, letters):
    steering = steering_for(model, dictionaries, "ann", "a lamp", settings=PARTS)
    parts = TwoParts(population_of(dictionaries, without="ann"), 2.0, 3.0)
    query = letters.encode(["a lamp"])[0]
    expected = dictionaries["ann"].select(query, k=2, two_parts=parts)
    for point, vector in expected.vectors.values.items():
        assert torch.equal(steering.vectors.values[point], vector)
    assert {p.entry.contrast for p in steering.picked} == {"context"}


def test_in_one_part_they_do_not(model, dictionaries):
    alone = steering_for(model, {"ann": dictionaries["ann"]}, "ann", "a lamp", settings=PLAIN)
    among = steering_for(model, dictionaries, "ann", "a lamp", settings=PLAIN)
    assert alone.picked == among.picked
    with pytest.raises(TrimtabError, match="got none"):
        steering_for(model, {"ann": dictionaries["ann"]}, "ann", "a lamp", settings=PARTS)


def test_who_has_no_dictionary_is_not_steered(model, dictionaries):
    assert steering_for(model, None, None, "a lamp") is None
    assert steering_for(model, dictionaries, "zoe", "a lamp") is None
    with pytest.raises(TrimtabError, match="needs to know the user"):
        steering_for(model, dictionaries, None, "a lamp")
