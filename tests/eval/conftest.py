"""A small shop without weights: a hand-made world, real tools, a model that follows a script."""

import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch

from trimtab.envs.records import Product, Purchase, Review, ShoppingTask
from trimtab.envs.world import World
from trimtab.steering.dictionary import Entry, SteeringDictionary
from trimtab.steering.generation import Completion
from trimtab.steering.vectors import points_of
from trimtab.tools import Toolkit, ToolSpec

SEARCH, RECOMMEND, REVIEW = (
    "search_product_by_query",
    "get_recommendations_by_history",
    "add_product_review",
)
WORDS = ["lamp", "coat", "desk", "mug"]


class Letters:
    """A sentence encoder that counts letters."""

    name = "letters"

    def encode(self, texts):
        counts = torch.tensor(
            [[float(text.lower().count(chr(97 + n))) for n in range(26)] for text in texts]
        ).reshape(len(texts), 26)
        return torch.nn.functional.normalize(counts, dim=-1)

    def similarity(self, left, right):
        one, other = self.encode([left, right])
        return float(one @ other)


@dataclass
class Scripted:
    """A model whose answers are a function of the request."""

    script: object
    name: str = "scripted"
    fingerprint: str = "f"
    encoder: Letters = field(default_factory=Letters)
    hf: object = field(default_factory=lambda: SimpleNamespace(dtype="bfloat16"))
    batches: list = field(default_factory=list)

    def generate(self, requests, **options):
        self.batches.append(list(requests))
        return [
            Completion(
                text=self.script(request),
                tokens=(1, 2, 3),
                prompt_tokens=sum(len(m["content"].split()) for m in request.messages),
                forced_tokens=1,
                finish="stop",
            )
            for request in requests
        ]


def called(name, **arguments):
    call = json.dumps({"name": name, "arguments": arguments})
    return f"<tool_call>\n{call}\n</tool_call>"


def purchase(word, time):
    return Purchase(
        product_info=Product(parent_asin=f"B-{word}", title=f"A {word}"),
        review=Review(rating=5, text=f"what a {word}", timestamp=time),
    )


def task(task_id, user, word, kind, time):
    return ShoppingTask(
        id=task_id,
        user_id=user,
        task=f"{word} {kind}",
        type=kind,
        timestamp=time,
        target=purchase(word, time),
    )


@pytest.fixture
def world():
    kinds = ["search", "recommend", "review"]
    users = ["ann", "bob", "eve"]
    return World(
        products={f"B-{word}": purchase(word, 0).product_info for word in WORDS},
        histories={user: [purchase(word, n) for n, word in enumerate(WORDS)] for user in users},
        profiles={user: {} for user in users},
        train=[
            task(f"train-{user}-{n}", user, word, kinds[n % 3], n)
            for user in users
            for n, word in enumerate(WORDS)
        ],
        test=[
            task(f"test-{user}-{kind}", user, "lamp", kind, 10) for user in users for kind in kinds
        ],
        name="corner shop",
    )


def search(query: str) -> list[str]:
    """Search.

    Args:
        query: Words.
    """
    if query == "burn":
        raise RuntimeError("the index is on fire")
    return [f"B-{word}" for word in reversed(WORDS) if word in query or query == "all"]


def recommend(product_sequence: list[str]) -> list[str]:
    """Recommend.

    Args:
        product_sequence: ASINs.
    """
    return ["B-mug", "B-lamp"]


def review(review: str) -> str:
    """Review.

    Args:
        review: Text.
    """
    return review


@dataclass
class CornerShop:
    world: World
    toolkit: Toolkit = field(
        default_factory=lambda: Toolkit(
            [
                ToolSpec.from_function(search, name=SEARCH),
                ToolSpec.from_function(recommend, name=RECOMMEND),
                ToolSpec.from_function(review, name=REVIEW),
            ]
        )
    )

    def recent_purchases(self, user_id, before):
        return self.world.history(user_id, before)[-2:]

    def purchase_lines(self, user_id, before):
        recent = self.recent_purchases(user_id, before)
        return [f"{p.asin}: {p.product_info.title}" for p in recent]


@pytest.fixture
def shop(world):
    return CornerShop(world)


@pytest.fixture
def scripted():
    return Scripted


@pytest.fixture
def call():
    return called


@pytest.fixture
def dictionaries():
    """One entry a word for each user, all after the first at time 3."""

    def make(user):
        return SteeringDictionary(
            user_id=user,
            fingerprint="f",
            points=points_of([0], ["mid"]),
            encoder_name="letters",
            entries=[
                Entry(f"{user}-{word}", word, "answer", "response", 0 if n == 0 else 50)
                for n, word in enumerate(WORDS)
            ],
            keys=Letters().encode(WORDS),
            vectors=torch.ones(len(WORDS), 1, 4),
        )

    return {user: make(user) for user in ("ann", "bob", "eve")}
