"""A model that says what a test wants it to say, and small tools for it to call."""

import json
import re
from dataclasses import dataclass, field

import pytest
import torch

from trimtab.steering.dictionary import Entry, SteeringDictionary
from trimtab.steering.generation import Completion
from trimtab.steering.vectors import points_of
from trimtab.tools import Toolkit, ToolSpec


class Letters:
    """A sentence encoder that counts letters: equal words are near, and nothing is loaded."""

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
    """A model whose answers come from ``script``, a function of the request."""

    script: object
    name: str = "scripted"
    fingerprint: str = "f"
    encoder: Letters = field(default_factory=Letters)
    batches: list = field(default_factory=list)

    def generate(self, requests, **options):
        self.batches.append(list(requests))
        self.options = options
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        text = self.script(request)
        if isinstance(text, Completion):
            return text
        words = sum(len(str(message["content"]).split()) for message in request.messages)
        return Completion(
            text=text,
            tokens=tuple(range(len(text.split()))),
            prompt_tokens=words,
            forced_tokens=1,
            finish="stop",
        )

    @property
    def requests(self):
        return [request for batch in self.batches for request in batch]


def called(name, **arguments):
    """A call in the model's own format."""
    call = json.dumps({"name": name, "arguments": arguments})
    return f"<tool_call>\n{call}\n</tool_call>"


@pytest.fixture
def scripted():
    """Make a model from a function of the request, or from answers in order."""

    def make(script):
        if callable(script):
            return Scripted(script)
        answers = iter(script)
        return Scripted(lambda request: next(answers))

    return make


@pytest.fixture
def call():
    return called


def find(query: str) -> list[str]:
    """Find products.

    Args:
        query: What to look for.
    """
    return [f"{word}-{n}" for n, word in enumerate(re.findall(r"\w+", query))]


def rate(stars: int) -> str:
    """Rate a product.

    Args:
        stars: From 1 to 5.
    """
    if stars > 5:
        raise ValueError("five is the most")
    return f"rated {stars}"


@pytest.fixture
def toolkit():
    return Toolkit([ToolSpec.from_function(find), ToolSpec.from_function(rate)])


@pytest.fixture
def dictionary():
    """Make a user's dictionary whose keys are the given texts, entry n at time n."""

    def make(user_id, *texts):
        points = points_of([1], ["mid"])
        return SteeringDictionary(
            user_id=user_id,
            fingerprint="f",
            points=points,
            encoder_name="letters",
            entries=[
                Entry(f"{user_id}-{n}", text, "an answer", "response", n)
                for n, text in enumerate(texts)
            ],
            keys=Letters().encode(texts),
            vectors=torch.stack([torch.full((1, 4), float(n + 1)) for n in range(len(texts))]),
        )

    return make
