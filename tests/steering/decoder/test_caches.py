"""The growing cache against transformers' own."""

import pytest
import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

from trimtab.steering.decoder.caches import GrowingLayer


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


def test_rows_move_into_the_places_of_those_that_left() -> None:
    growing, _ = filled([5, 2], rows=6)
    assert growing.keys is not None
    before = growing.keys.clone()
    growing.move_rows([0, 5, 2, 3])
    assert torch.equal(growing.keys, before[[0, 5, 2, 3]])
    place = growing.keys.data_ptr()
    one, _ = filled([3], rows=2)
    growing.join(one)  # where there is room for more rows, nothing of the others is copied
    assert growing.keys.data_ptr() == place
    assert growing.keys.shape == (6, 2, 7, 3)
    assert torch.equal(growing.keys[:4], before[[0, 5, 2, 3]])
    assert one.keys is not None and torch.equal(growing.keys[4:, :, 4:], one.keys)
    held = growing.keys.untyped_storage().nbytes()
    growing.move_rows([1])
    assert torch.equal(growing.keys, before[[5]])
    assert growing.keys.untyped_storage().nbytes() == held / 6


def test_tokens_are_packed_and_forgotten() -> None:
    growing, _ = filled([6], rows=2)
    assert growing.keys is not None
    before = growing.keys.clone()
    order = torch.tensor([[0, 2, 3], [1, 4, 5]])
    growing.pack(order)
    expected = torch.stack([before[row][:, order[row]] for row in range(2)])
    assert torch.equal(growing.keys, expected)
    growing.drop_last(2)
    assert torch.equal(growing.keys, expected[:, :, :1])
    keys, _ = growing.update(states(2, 1, 7), states(2, 1, 8))
    assert torch.equal(keys, torch.cat([expected[:, :, :1], states(2, 1, 7)], dim=2))
