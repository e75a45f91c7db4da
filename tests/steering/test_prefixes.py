"""The growing cache against transformers' own, and which prefixes are kept."""

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicLayer

from trimtab.steering.prefixes import GrowingLayer, Prefix, Prefixes, common, new_cache, run


def states(rows: int, tokens: int, seed: int) -> Tensor:
    return torch.randn(rows, 2, tokens, 3, generator=torch.Generator().manual_seed(seed))


def filled(lengths: list[int], rows: int = 3, room: int = 0) -> tuple[GrowingLayer, DynamicLayer]:
    growing, usual = GrowingLayer(room), DynamicLayer()
    for seed, tokens in enumerate(lengths):
        given = states(rows, tokens, seed), states(rows, tokens, seed + 100)
        for own, other in zip(growing.update(*given), usual.update(*given), strict=True):
            assert torch.equal(own, other)
    return growing, usual


@pytest.mark.parametrize("room", [0, 5, 500])
def test_a_growing_layer_holds_what_a_usual_one_holds(room: int) -> None:
    growing, usual = filled([4, 1, 70, 1, 90, 2], room=room)
    assert growing.get_seq_length() == usual.get_seq_length() == 168
    growing.batch_select_indices(torch.tensor([2, 0, 0, 1]))
    usual.batch_select_indices(torch.tensor([2, 0, 0, 1]))
    more = states(4, 80, 9), states(4, 80, 10)
    for own, other in zip(growing.update(*more), usual.update(*more), strict=True):
        assert torch.equal(own, other)


def test_a_step_copies_nothing_while_there_is_room() -> None:
    growing, _ = filled([10], room=100)
    assert growing.keys is not None
    place = growing.keys.data_ptr()
    growing.update(states(3, 80, 1), states(3, 80, 2))
    assert growing.keys.data_ptr() == place


def test_joined_layers_end_at_the_same_place_behind_zeros() -> None:
    (short, _), (long, _) = filled([3]), filled([7, 2], rows=2)
    assert short.keys is not None and long.keys is not None
    before, under = short.keys.clone(), long.keys.clone()
    short.join(long)
    assert short.keys.shape == (5, 2, 9, 3)
    assert torch.equal(short.keys[:3, :, 6:], before)
    assert torch.equal(short.keys[3:], under)
    assert not short.keys[:3, :, :6].any()
    assert short.values is not None and not short.values[:3, :, :6].any()
    keys, _ = short.update(states(5, 1, 4), states(5, 1, 5))
    assert torch.equal(keys[:, :, 9:], states(5, 1, 4))


def test_a_prefix_is_never_changed_by_those_who_start_from_it(llama: PreTrainedModel) -> None:
    with torch.inference_mode():
        prefix = run(llama.model, list(range(20, 60)), None)
        before = [(keys.clone(), values.clone()) for keys, values in prefix.states]
        longer = run(llama.model, [*range(20, 60), 7, 8, 9], prefix)
        cache = new_cache(llama.config, prefix, 4, 50)
        for layer in cache.layers:
            layer.update(torch.ones(4, 2, 1, 8), torch.ones(4, 2, 1, 8))
            assert isinstance(layer, GrowingLayer) and layer.keys is not None
            layer.keys.zero_()
        whole = run(llama.model, [*range(20, 60), 7, 8, 9], None)
    for (keys, values), (own_keys, own_values) in zip(before, prefix.states, strict=True):
        assert torch.equal(keys, own_keys) and torch.equal(values, own_values)
    for (keys, _), (own_keys, _) in zip(longer.states, whole.states, strict=True):
        torch.testing.assert_close(keys, own_keys, rtol=1e-4, atol=1e-5)


def prefix(*tokens: int) -> Prefix:
    return Prefix(tokens, ((states(1, len(tokens), 0), states(1, len(tokens), 1)),))


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
    known = Prefixes(size=2)
    one, two, three = (prefix(*range(start, start + 20)) for start in (0, 100, 200))
    known.keep(one)
    known.keep(two)
    known.longest(one.tokens)
    known.keep(three)
    assert known.longest(two.tokens) is None
    assert known.longest(one.tokens) is not None


def test_a_longer_prefix_takes_the_place_of_its_beginning() -> None:
    known = Prefixes(size=2)
    known.keep(prefix(*range(100, 120)))
    known.keep(prefix(*range(20)))
    known.keep(prefix(*range(40)))
    assert known.longest(range(100, 120)) is not None
    assert known.longest(range(40)).tokens == tuple(range(40))


def test_common_beginnings() -> None:
    assert [common([1, 2, 3], [1, 2]), common([1], [2]), common([], [1])] == [2, 0, 0]
