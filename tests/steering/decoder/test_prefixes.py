"""Which prefixes are kept, and that those who start from one leave it as it is."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from trimtab.steering.decoder.caches import GrowingLayer
from trimtab.steering.decoder.prefix import Prefix
from trimtab.steering.decoder.prefixes import Prefixes, common, extended, new_cache


def ran(known: Prefix | None, tokens: list[int], model: PreTrainedModel, part: int = 100) -> Prefix:
    passes = extended(known, tokens, model.model, part)
    while True:
        try:
            next(passes)
        except StopIteration as end:
            return end.value


def test_a_prefix_is_never_changed_by_those_who_start_from_it(llama: PreTrainedModel) -> None:
    with torch.inference_mode():
        prefix = ran(None, list(range(20, 60)), llama)
        before = [(keys.clone(), values.clone()) for keys, values in prefix.states]
        longer = ran(prefix, [*range(20, 60), 7, 8, 9], llama)
        cache = new_cache(llama.config, prefix, 4, 50)
        for layer in cache.layers:
            layer.update(torch.ones(4, 2, 1, 8), torch.ones(4, 2, 1, 8))
            assert isinstance(layer, GrowingLayer) and layer.keys is not None
            layer.keys.zero_()
        whole = ran(None, [*range(20, 60), 7, 8, 9], llama, part=7)
    for (keys, values), (own_keys, own_values) in zip(before, prefix.states, strict=True):
        assert torch.equal(keys, own_keys) and torch.equal(values, own_values)
    for (keys, _), (own_keys, _) in zip(longer.states, whole.states, strict=True):
        torch.testing.assert_close(keys, own_keys, rtol=1e-4, atol=1e-5)


def states(tokens: int, seed: int) -> Tensor:
    return torch.randn(1, 2, tokens, 3, generator=torch.Generator().manual_seed(seed))


def prefix(*tokens: int) -> Prefix:
    return Prefix(tokens, ((states(len(tokens), 0), states(len(tokens), 1)),))


def test_the_longest_known_prefix_is_found_and_cut() -> None:
    known = Prefixes()
    known.keep(prefix(*range(30)))
    known.keep(prefix(*range(20), *range(90, 100)))
    found = known.longest([*range(25), 7, 7, 7])
    assert found is not None
    assert found.tokens == tuple(range(25))
    assert found.states[0][0].shape[2] == 25
    assert known.longest([*range(10), *range(50, 90)]) is None  # too little to be worth it


def test_the_prefix_that_was_not_used_for_longest_goes() -> None:
    known = Prefixes(2 * prefix(*range(20)).bytes)
    one, two, three = (prefix(*range(start, start + 20)) for start in (0, 100, 200))
    known.keep(one)
    known.keep(two)
    known.longest(one.tokens)
    known.keep(three)
    assert known.longest(two.tokens) is None
    assert known.longest(one.tokens) is not None


def test_a_longer_prefix_takes_the_place_of_its_beginning() -> None:
    known = Prefixes(3 * prefix(*range(20)).bytes)
    known.keep(prefix(*range(100, 120)))
    known.keep(prefix(*range(20)))
    known.keep(prefix(*range(40)))
    assert known.longest(range(100, 120)) is not None
    assert known.longest(range(40)).tokens == tuple(range(40))


def test_common_beginnings() -> None:
    assert [common([1, 2, 3], [1, 2]), common([1], [2]), common([], [1])] == [2, 0, 0]


def test_what_is_too_large_is_not_kept_and_drives_nothing_out() -> None:
    small, large = prefix(*range(20)), prefix(*range(100, 190))
    known = Prefixes(2 * small.bytes)
    known.keep(small)
    known.keep(large)
    assert known.longest(large.tokens) is None
    assert known.longest(small.tokens) is not None
    known.keep(small.first(18))
    assert known.longest(small.tokens).tokens == small.tokens
