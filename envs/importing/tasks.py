"""Tasks derived from a user's later purchases, each asked at the time of its purchase."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from ..shop.records import Purchase, ShoppingTask, Split, TaskType
from .cleaning import words_of
from .requests import InferredManner, recommend_request, review_request, search_request
from .splitting import Segments

_REVIEW_WORDS = 4
"""A shorter review is no task."""


def derive_tasks(
    user: str, segments: Segments, rng: random.Random, no_task: Counter[str]
) -> dict[Split, list[ShoppingTask]]:
    """A search, a recommend and a review task of each purchase of the training and test parts.

    A product that the user has bought before is not searched for or recommended, since the past
    would give it away. Of what was bought at one time one product, drawn, is to be recommended,
    since nobody could tell the requests apart. A review of fewer than four words is no task.

    Args:
        user: Whose purchases these are.
        segments: What is history, for training and for test.
        rng: Draws the wording.
        no_task: Counts what was not derived, by reason.
    """
    manner = InferredManner.of(segments.history, rng)
    past = list(segments.history)
    tasks: dict[Split, list[ShoppingTask]] = {}
    parts: dict[Split, list[Purchase]] = {"train": segments.train, "test": segments.test}
    for split, purchases in parts.items():
        tasks[split] = []
        for time, group in groupby(purchases, key=lambda purchase: purchase.timestamp):
            bought = list(group)
            for kind, purchase, text in _requests(bought, past, manner, rng, no_task):
                tasks[split].append(
                    ShoppingTask(
                        user_id=user, task=text, type=kind, timestamp=time, target=purchase
                    )
                )
            past += bought
    return tasks


def _requests(
    bought: Sequence[Purchase],
    past: Sequence[Purchase],
    manner: InferredManner,
    rng: random.Random,
    no_task: Counter[str],
) -> Iterator[tuple[TaskType, Purchase, str]]:
    """What is asked about the purchases of one time, nothing twice in the same words."""
    known = {purchase.asin for purchase in past}
    brands = {purchase.product_info.store or "" for purchase in past}
    new = [purchase for purchase in bought if purchase.asin not in known]
    no_task["search and recommend: products that the user has bought before"] += len(bought) - len(
        new
    )
    asked: list[tuple[TaskType, Purchase, str]] = [
        ("search", purchase, search_request(purchase.product_info, manner, brands, rng))
        for purchase in new
    ]
    if new:
        purchase = rng.choice(new)
        asked.append(("recommend", purchase, recommend_request(purchase.product_info, manner, rng)))
        no_task["recommend: one a time, of several products bought at it"] += len(new) - 1
    reviewed = [p for p in bought if len(words_of(p.review.text)) >= _REVIEW_WORDS]
    asked += [("review", purchase, review_request(purchase, manner, rng)) for purchase in reviewed]
    no_task[f"review: reviews of fewer than {_REVIEW_WORDS} words"] += len(bought) - len(reviewed)
    said = set()
    for kind, purchase, text in asked:
        if (kind, text) in said:
            no_task[f"{kind}: the same words at the same time"] += 1
        else:
            said.add((kind, text))
            yield kind, purchase, text
