"""Which samples may stand in a prompt: never the sample itself, never a later one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab import TrimtabError
from trimtab.steering import load_encoder
from trimtab.steering.contrast.context import Context, HistorySample, contexts
from trimtab.steering.contrast.relevance import by_bm25, by_recency, by_similarity

WORDS = ["boat", "lamp", "scarf", "wool", "red", "pan", "the"]


def sample(id: str, input: str = "boat", timestamp: int = 0) -> HistorySample:
    return HistorySample(id, input, f"answer to {input}", timestamp)


@st.composite
def histories(draw: st.DrawFn) -> dict[str, list[HistorySample]]:
    """Users whose samples share ids, texts and times as they like."""
    users = draw(st.integers(1, 4))
    return {
        f"u{user}": [
            sample(
                f"s{n}",
                " ".join(draw(st.lists(st.sampled_from(WORDS), max_size=4))),
                draw(st.integers(0, 6)),
            )
            for n in range(draw(st.integers(0, 6)))
        ]
        for user in range(users)
    }


@settings(max_examples=150, deadline=None)
@given(
    histories(), st.integers(1, 4), st.sampled_from([by_recency(), by_bm25()]), st.integers(0, 3)
)
def test_no_sample_is_its_own_context_and_none_later_is_used(
    samples: dict[str, list[HistorySample]], k: int, relevance, seed: int
) -> None:
    found = contexts(samples, relevance, k=k, seed=seed)
    for user, own in samples.items():
        assert sorted(c.sample.id for c in found[user]) == sorted(s.id for s in own)
        others = [s for other, theirs in samples.items() if other != user for s in theirs]
        for context in found[user]:
            now = context.sample.timestamp
            earlier = [s for s in own if s.timestamp < now]
            foreign = [s for s in others if s.timestamp < now]
            assert all(any(s is chosen for s in earlier) for chosen in context.own)
            assert all(any(s is chosen for s in foreign) for chosen in context.others)
            assert len(context.own) == len({id(s) for s in context.own}) == min(k, len(earlier))
            assert len(context.others) == len({id(s) for s in context.others})
            assert len(context.others) == min(k, len(foreign))


@settings(max_examples=50, deadline=None)
@given(histories(), st.sampled_from([by_recency(), by_bm25()]), st.integers(1, 6))
def test_what_comes_later_changes_nothing(
    samples: dict[str, list[HistorySample]], relevance, now: int
) -> None:
    until = {user: [s for s in own if s.timestamp <= now] for user, own in samples.items()}
    alone, among_later = (contexts(s, relevance, k=2) for s in (until, samples))
    for user, own in alone.items():
        assert own == [c for c in among_later[user] if c.sample.timestamp <= now]


def test_own_context_is_the_most_relevant_first() -> None:
    texts = ["a red wool scarf", "a sailing boat", "a woollen scarf", "a frying pan"]
    own = [sample(f"s{n}", text, n) for n, text in enumerate(texts)]
    own.append(sample("now", "red scarf of wool", 9))
    for relevance in (by_similarity(load_encoder()), by_bm25()):
        context = contexts({"ada": own}, relevance, k=2)["ada"][-1]
        assert [s.id for s in context.own] == ["s0", "s2"]
    context = contexts({"ada": own}, by_recency(), k=2)["ada"][-1]
    assert [s.id for s in context.own] == ["s3", "s2"]


def test_draws_follow_the_seed_and_not_the_order() -> None:
    samples = {f"u{u}": [sample(f"s{n}", timestamp=n) for n in range(8)] for u in range(6)}
    turned = {user: list(reversed(own)) for user, own in reversed(samples.items())}

    def drawn(seed: int, samples=samples) -> list[tuple[HistorySample, ...]]:
        found = contexts(samples, by_recency(), seed=seed)
        return [context.others for user in sorted(found) for context in found[user]]

    assert drawn(1) == drawn(1) == drawn(1, turned)
    assert drawn(1) != drawn(2)


def test_every_other_users_sample_can_be_drawn() -> None:
    samples = {
        f"u{u}": [HistorySample(f"s{n}", "", f"{u}/{n}", n) for n in range(3)] for u in range(3)
    }
    samples["u1"].append(HistorySample("now", "", "", 9))
    seen: set[str] = set()
    for seed in range(60):
        now: Context = contexts(samples, by_recency(), k=2, seed=seed)["u1"][-1]
        seen.update(other.output for other in now.others)
    assert seen == {"0/0", "0/1", "0/2", "2/0", "2/1", "2/2"}


def test_bad_input_is_named() -> None:
    with pytest.raises(TrimtabError, match="k of at least 1 context sample, got 0"):
        contexts({}, by_recency(), k=0)
    with pytest.raises(TrimtabError, match="'ada' has two samples with the id 's1'"):
        contexts({"ada": [sample("s0"), sample("s1"), sample("s1")]}, by_recency())
