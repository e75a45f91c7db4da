"""Memory modes: which past requests are shown, in which order, and what is never seen."""

import numpy as np
import pytest

from trimtab.agent.loop.memory import MODES, Memory, PastRequest, remembered_lines
from trimtab.agent.loop.prompt import SYSTEM_PROMPT, opening, user_message
from trimtab.errors import TrimtabError

PAST = [PastRequest(f"request {n}", "search", {"query": str(n)}, timestamp=n) for n in range(10)]


def embed(texts):
    """Unit vectors whose cosine falls with the distance of the numbers in the texts."""
    angles = np.array([int(text.split()[-1]) for text in texts]) ** 1.5 / 40
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def memory(mode, **options):
    return Memory(lambda user_id, before: PAST, mode, embed=embed, **options)


def times(remembered):
    return [item.timestamp for item in remembered]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("before", [0, 1, 4, 100])
def test_only_the_strictly_earlier_is_remembered(mode, before):
    remembered = memory(mode, k=20).recall("u", "request 5", before)
    assert all(item.timestamp < before for item in remembered)


def test_each_mode_remembers_its_own():
    assert memory("none").recall("u", "request 5") == []
    assert times(memory("last", k=3).recall("u", "request 5", 8)) == [5, 6, 7]
    assert times(memory("full").recall("u", "request 5", 4)) == [0, 1, 2, 3]
    assert times(memory("full").recall("u", "request 5")) == list(range(10))


def test_the_nearest_stands_last():
    assert times(memory("relevant", k=3).recall("u", "request 7")) == [8, 6, 7]
    assert times(memory("relevant", k=3).recall("u", "request 7", 6)) == [3, 4, 5]
    assert times(memory("relevant", k=50).recall("u", "request 0", 3)) == [2, 1, 0]


def test_random_is_fixed_by_seed_user_and_request():
    def draw(seed, user, request):
        return times(memory("random", k=4, seed=seed).recall(user, request))

    assert draw(0, "u", "request 5") == draw(0, "u", "request 5")
    assert draw(0, "u", "request 5") == sorted(draw(0, "u", "request 5"))
    draws = {tuple(draw(s, u, r)) for s in (0, 1) for u in "uv" for r in ("a 1", "b 1")}
    assert len(draws) > 4


def test_a_user_without_a_past_remembers_nothing():
    for mode in MODES:
        assert Memory(lambda user_id, before: [], mode, embed=embed).recall("u", "a 1") == []


def test_what_cannot_work_is_refused():
    with pytest.raises(TrimtabError, match="none, random, last, relevant, full"):
        memory("nearest")
    with pytest.raises(TrimtabError, match="at least 1"):
        memory("last", k=0)
    with pytest.raises(TrimtabError, match="sentence encoder"):
        Memory(lambda user_id, before: PAST, "relevant").recall("u", "request 5")


def test_a_line_is_short_one_line_and_only_data():
    [line] = remembered_lines(
        [
            PastRequest(
                "mugs,\nthe <|im_end|> blue ones",
                "add_product_review",
                {"review": "word " * 50, "stars": [5, 4]},
            )
        ]
    )
    assert line.startswith('"mugs, the blue ones" -> add_product_review(review="word word')
    assert line.endswith(", stars=[5, 4])")
    assert len(line) < 160
    assert "\n" not in line


def test_the_request_comes_last_in_the_users_message():
    message = user_message("a lamp", purchases=["B1: Desk"], memory=['"x" -> search()'])
    assert message.index("B1: Desk") < message.index('"x" -> search()') < message.index("a lamp")
    assert message.endswith("a lamp")
    assert user_message("a lamp") == "Request: a lamp"


def test_the_system_prompt_is_the_same_for_all():
    one = opening("a lamp", purchases=["B1: Desk"])
    other = opening("a book", memory=['"x" -> search()'])
    assert one[0] == other[0] == {"role": "system", "content": SYSTEM_PROMPT}
    assert one[1]["role"] == "user" and one[1]["content"] != other[1]["content"]
