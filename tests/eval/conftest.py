"""A small shop without weights: a hand-made world and real tools."""

from dataclasses import dataclass, field
from random import Random

import pytest
import torch

from trimtab.envs.shop.records import Product, Purchase, Review, ShoppingTask
from trimtab.envs.shop.world import World
from trimtab.envs.texts.dataset import TextSample, TextUser
from trimtab.eval.runs.folder import run_folder
from trimtab.eval.runs.record import Record
from trimtab.steering.dictionaries.dictionary import SteeringDictionary
from trimtab.steering.vectors.entries import Entry
from trimtab.steering.vectors.steering_vectors import points_of
from trimtab.tools import Toolkit, ToolSpec

SEARCH, RECOMMEND, REVIEW = (
    "search_product_by_query",
    "get_recommendations_by_history",
    "add_product_review",
)
WORDS = ["lamp", "coat", "desk", "mug"]


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
def dictionaries(letters):
    """One entry a word for each user, all after the first at time 3."""

    def make(user):
        return SteeringDictionary(
            user_id=user,
            fingerprint="f",
            points=points_of([1], ["block"]),
            encoder_name="letters",
            entries=[
                Entry(f"{user}-{word}", word, "answer", "response", 0 if n == 0 else 50)
                for n, word in enumerate(WORDS)
            ],
            keys=letters.encode(WORDS),
            vectors=torch.ones(len(WORDS), 1, 4),
        )

    return {user: make(user) for user in ("ann", "bob", "eve")}


@pytest.fixture(scope="session")
def loaded_byte_model(byte_model_path):
    from trimtab.steering import SteeredModel

    return SteeredModel.from_pretrained(str(byte_model_path), dtype=torch.float32)


@pytest.fixture
def byte_model(loaded_byte_model, letters):
    """The same, loaded in float32, with a sentence encoder that counts letters."""
    loaded_byte_model.encoder = letters
    return loaded_byte_model


@pytest.fixture
def writers():
    """Four people, six past texts each and a test, all of different words."""

    def user(name, number):
        word = "abcd"[number] * 3
        past = tuple(
            TextSample(f"{name}{n}", f"Ask: {word} {n} about {'xyz'[n % 3]}", f"{word} says {n}", n)
            for n in range(6)
        )
        test = TextSample(f"{name}-test", f"Ask: {word} now about y", f"{word} says so", 9)
        return TextUser(name, past, (test,))

    return tuple(user(name, n) for n, name in enumerate(["ann", "bob", "cat", "dan"]))


TEXT_METHODS = ("zero-shot", "rag", "fints", "fints-other", "fints-population")
GOOD = {"zero-shot": 1, "rag": 2, "fints": 4, "fints-other": 1, "fints-population": 2}


def text_records(methods=TEXT_METHODS, users=10, samples=40):
    """Made answers: of a headline's six words a method gets some right, fints most."""
    random = Random(0)
    for n in range(samples):
        user = n % users
        words = random.sample(["Storm", "closes", "old", "harbour", "bridge", "again", "today"], 6)
        for method in methods:
            right = min(6, GOOD.get(method, 1) + random.randrange(3))
            output = " ".join([*words[:right], *["news"] * (6 - right)])
            steered = method.startswith("fints")
            yield Record(
                method=method,
                sample_id=f"s{n:02}",
                user_id=f"user-{user}",
                prompt=[
                    {"role": "system", "content": "You write headlines."},
                    {"role": "user", "content": f"Headline of article {n}?"},
                ],
                output=output,
                gold=" ".join(words),
                scores={"rouge-1": right / 6, "log-likelihood": -2 + right / 6},
                history=4 + 3 * user,
                picked=[
                    {
                        "sample_id": f"h{k}",
                        "key": f"past article {k}",
                        "answer": f"Past headline {k}",
                        "similarity": 0.8 - 0.1 * k,
                        "weight": (0.6, 0.3, 0.1)[k],
                    }
                    for k in range(3)
                ]
                if steered
                else [],
                prompt_tokens=50 + 200 * (method == "rag"),
                completion_tokens=6,
                seconds=0.5 + 0.1 * len(method),
            )


@pytest.fixture
def text_run(tmp_path):
    """Write a run of `trimtab eval` with made answers and give back its folder."""

    def write(records=None, folder="text-run", **configuration):
        path = tmp_path / folder
        found = list(text_records() if records is None else records)
        with run_folder(
            path,
            {
                "task": "headlines",
                "metrics": ["rouge-1", "log-likelihood"],
                "methods": {record.method: {"method": record.method} for record in found},
                "baseline": "zero-shot",
                "model": {"name": "made-up", "dtype": "bfloat16"},
                "data": {"name": "made", "fingerprint": "f"},
                "seed": 0,
                **configuration,
            },
        ) as kept:
            for record in found:
                kept.append(record.to_json())
        return path

    return write
