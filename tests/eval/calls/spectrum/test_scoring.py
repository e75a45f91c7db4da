"""Whether a call suits the person: its app, its function, its arguments."""

from dataclasses import replace
from pathlib import Path

import pytest

from trimtab.agent.calling.tool_call import ToolCall
from trimtab.envs.toolspectrum import load_toolspectrum
from trimtab.eval.calls.spectrum.scoring import METRICS, spectrum_scores

DATA = load_toolspectrum(Path(__file__).parents[3] / "data" / "toolspectrum")
RIGHT = {"query": "lamp", "weight": "<250", "sortBy": "price"}


def scores(*calls, item=DATA.items[0], offered=("Corner Shop", "Fine Goods")):
    found = spectrum_scores([ToolCall(*call) for call in calls], item, DATA, offered)
    return tuple(found[name] for name in METRICS)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (("Corner_Shop.findItem", RIGHT), (1, 1, 1, 1, 1)),
        # The competitor's function of the same name: what was asked for is right, the app is not.
        (("Fine_Goods.findItem", RIGHT), (0, 1, 1, 1, 0)),
        (("Corner_Shop.findItem", RIGHT | {"query": "Lamp."}), (1, 1, 1, 1, 1)),
        (("Corner_Shop.findItem", RIGHT | {"weight": ">500"}), (1, 1, 0.5, 1, 0)),
        (("Corner_Shop.findItem", RIGHT | {"sortBy": "quality"}), (1, 1, 1, 0, 0)),
        # What nobody wanted set is as wrong as what was not set.
        (("Corner_Shop.findItem", RIGHT | {"sizes": ["S"]}), (1, 1, 1, 0.5, 0)),
        (("Corner_Shop.findItem", {"query": "lamp", "weight": "<250"}), (1, 1, 1, 0, 0)),
        (("Corner_Shop.buyItem", RIGHT), (1, 0, 0, 0, 0)),
    ],
)
def test_each_part_of_a_call_is_scored(call, expected):
    assert scores(call) == expected


def test_no_call_is_wrong_and_what_is_not_asked_for_is_not_scored():
    assert scores() == (0, 0, 0, 0, 0)
    night = DATA.items[4]
    right = ("Night_Bus.bookSeat", dict(night.arguments))
    assert scores(right, item=night, offered=("Night Bus",)) == (None, 1, 1, 1, 1)
    plain = DATA.items[6]
    assert scores(("Fine_Goods.findItem", {"query": "desk"}), item=plain) == (1, 1, 1, None, 1)


def test_a_list_of_one_and_its_bare_value_are_alike():
    listed = replace(DATA.items[0], arguments=RIGHT | {"sizes": ["S"]})
    bare = replace(DATA.items[0], arguments=RIGHT | {"sizes": "S"})
    for item in (listed, bare):
        for value in ("S", ["S"]):
            call = ("Corner_Shop.findItem", RIGHT | {"sizes": value})
            assert scores(call, item=item) == (1, 1, 1, 1, 1)
        assert scores(("Corner_Shop.findItem", RIGHT | {"sizes": ["S", "M"]}), item=item)[3] == 0.5
