"""What a conversation and its options come to: the grammar, the stop texts, the reading."""

import json

import jsonschema
import pytest

from trimtab import TrimtabError
from trimtab.agent.chat.question import question_of
from trimtab.steering.model import SteeredModel

SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}, "sizes": {"type": "array", "maxItems": 2,
                   "items": {"type": "integer", "minimum": 0, "maximum": 9}}},
    "required": ["colour", "sizes"],
    "additionalProperties": False,
}  # fmt: skip
TOOL = {
    "type": "function",
    "function": {
        "name": "search",
        "parameters": {"type": "object", "properties": {"q": {"enum": ["lamp", "rug"]}}},
    },
}
ASK = [{"role": "user", "content": "Which lamp?"}]


@pytest.fixture(scope="module")
def model(tiny_model_folder):
    return SteeredModel.from_pretrained(str(tiny_model_folder), dtype="float32")


def test_an_answer_is_held_to_a_schema(model) -> None:
    for seed in range(8):
        question = question_of(model, ASK, schema=SCHEMA)
        [completion] = model.generate([question.request], temperature=1.5, seed=seed)
        jsonschema.validate(json.loads(question.message(completion).text), SCHEMA)


def test_beside_tools_an_answer_is_a_call_or_fits_the_schema(model) -> None:
    seen = set()
    for seed in range(24):
        question = question_of(model, ASK, [TOOL], schema=SCHEMA)
        [completion] = model.generate([question.request], temperature=2.0, seed=seed)
        message = question.message(completion)
        if message.tool_calls:
            assert {call["name"] for call in message.tool_calls} == {"search"}
        else:
            jsonschema.validate(json.loads(message.text), SCHEMA)
        seen.add(bool(message.tool_calls))
    assert seen == {True, False}


def test_a_required_call_leaves_no_room_for_the_schema(model) -> None:
    question = question_of(model, ASK, [TOOL], tool_choice="required", schema=SCHEMA)
    [completion] = model.generate([question.request])
    assert question.message(completion).tool_calls


def test_a_schema_that_is_none_is_refused_in_one_line(model) -> None:
    with pytest.raises(TrimtabError, match="schema of the answer"):
        question_of(model, ASK, schema={"type": "object", "properties": 3})
