import pytest

from trimtab.envs.importing.splitting import Shares, split_purchases
from trimtab.envs.shop.records import Product, Purchase, Review


def purchases(*times):
    return [
        Purchase(
            product_info=Product(parent_asin=f"B{n}", title="Mug"),
            review=Review(rating=5, text="", timestamp=time),
        )
        for n, time in enumerate(times)
    ]


@pytest.mark.parametrize(
    ("times", "parts"),
    [
        (range(10), (5, 3, 2)),
        (range(3), (1, 1, 1)),
        (range(40), (20, 12, 8)),
        ([1, 2, 3, 3, 3, 3], (1, 1, 4)),
        ([1, 1, 1, 1, 2, 3], (4, 1, 1)),
        ([1, 2, 2, 2, 2, 2, 2, 3], (1, 6, 1)),
        ([1, 1, 2], None),
        ([1] * 9, None),
        ([], None),
    ],
)
def test_whole_times_are_taken_from_the_end_and_each_part_has_one(times, parts):
    bought = purchases(*times)
    found = split_purchases(bought, Shares(0.3, 0.2))
    if parts is None:
        assert found is None
        return
    assert found.history + found.train + found.test == bought
    assert (len(found.history), len(found.train), len(found.test)) == parts
    ends = [{p.timestamp for p in part} for part in (found.history, found.train, found.test)]
    assert max(ends[0]) < min(ends[1])
    assert max(ends[1]) < min(ends[2])


@pytest.mark.parametrize("test", [0.1, 0.5, 0.9])
def test_a_great_share_leaves_a_time_for_each_part_before(test):
    found = split_purchases(purchases(*range(5)), Shares(0.05, test))
    assert found.history
    assert found.train
    assert len(found.test) == {0.1: 1, 0.5: 2, 0.9: 3}[test]
