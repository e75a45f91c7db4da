"""Chat completions through the official client and a really running server."""

import json

import httpx
import jsonschema
import pytest
from openai import BadRequestError, NotFoundError, OpenAI

ASK = [{"role": "user", "content": "Which lamp?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Search.",
        "parameters": {
            "type": "object",
            "properties": {"q": {"enum": ["lamp", "rug"]}},
            "required": ["q"],
        },
    },
}


def test_a_conversation_is_answered(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=8)
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 8
    assert answer.steering["whose"] == "nothing"
    assert answer.steering["reason"] == "nobody named"


def test_a_stream_adds_up_to_the_plain_answer(client: OpenAI) -> None:
    options = {"model": "tiny", "messages": ASK, "max_tokens": 24, "temperature": 1, "seed": 5}
    whole = client.chat.completions.create(**options)
    stream = client.chat.completions.create(
        **options, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[0].steering["whose"] == "nothing"


def test_calls_are_answered_plain_and_streamed(client: OpenAI) -> None:
    options = {
        "model": "tiny",
        "messages": ASK,
        "tools": [TOOL],
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }
    whole = client.chat.completions.create(**options)
    [call] = whole.choices[0].message.tool_calls
    assert call.function.name == "search"
    assert json.loads(call.function.arguments)["q"] in ("lamp", "rug")
    assert whole.choices[0].finish_reason == "tool_calls"
    name, arguments = "", ""
    for chunk in client.chat.completions.create(**options, stream=True):
        for part in chunk.choices[0].delta.tool_calls or ():
            name += part.function.name or ""
            arguments += part.function.arguments or ""
    assert name == "search"
    assert json.loads(arguments) == json.loads(call.function.arguments)


def test_a_named_tool_is_called(client: OpenAI) -> None:
    other = {"type": "function", "function": {"name": "other"}}
    choice = {"type": "function", "function": {"name": "search"}}
    answer = client.chat.completions.create(
        model="tiny", messages=ASK, tools=[other, TOOL], tool_choice=choice
    )
    assert [c.function.name for c in answer.choices[0].message.tool_calls] == ["search"]


def test_an_answer_fits_the_schema_that_is_asked_for(client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"size": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["size"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model="tiny",
        messages=ASK,
        response_format={"type": "json_schema", "json_schema": {"name": "size", "schema": schema}},
    )
    jsonschema.validate(json.loads(answer.choices[0].message.content), schema)
    answer = client.chat.completions.create(
        model="tiny", messages=ASK, response_format={"type": "json_object"}
    )
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


def test_several_answers_differ_and_the_seed_gives_them_again(client: OpenAI) -> None:
    def texts() -> list[str]:
        answer = client.chat.completions.create(
            model="tiny", messages=ASK, n=3, temperature=1.5, seed=3, max_tokens=8
        )
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        return [choice.message.content for choice in answer.choices]

    first = texts()
    assert len(set(first)) == 3
    assert texts() == first


def test_a_stop_text_ends_the_answer(client: OpenAI) -> None:
    options = {"model": "tiny", "messages": ASK, "max_tokens": 24, "temperature": 1, "seed": 5}
    whole = client.chat.completions.create(**options).choices[0].message.content
    stop = whole[10:12]
    cut = client.chat.completions.create(**options, stop=[stop]).choices[0]
    assert cut.message.content == whole[: whole.index(stop)]
    assert cut.finish_reason == "stop"


def test_the_conversation_may_hold_calls_and_results(client: OpenAI) -> None:
    call = {"id": "abc", "type": "function", "function": {"name": "search", "arguments": "{}"}}
    messages = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Which lamp?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "abc", "content": "a lamp"},
    ]
    answer = client.chat.completions.create(
        model="tiny", messages=messages, tools=[TOOL], max_tokens=4
    )
    assert answer.choices[0].message.role == "assistant"


def test_the_model_is_listed(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "trimtab"
    with pytest.raises(NotFoundError):
        client.models.retrieve("other/model")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"temperature": 3}, "temperature"),
        ({"messages": []}, "messages"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"tool_choice": {"type": "function", "function": {"name": "no"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "there are no tools"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image_url"),
        ({"response_format": {"type": "json_schema"}}, "needs json_schema"),
        ({"max_tokens": 3_000}, "context"),
        ({"max_tokens": 100_000}, "at most"),
        ({"extra_body": {"steering": {"whos": "own"}}}, "steering.whos"),
    ],
)
def test_what_cannot_be_followed_is_refused_in_one_line(client: OpenAI, change, told) -> None:
    asked = {"model": "tiny", "messages": ASK, **change}
    if told == "context":
        asked["messages"] = [{"role": "user", "content": "word " * 3_000}]
    with pytest.raises(BadRequestError, match=told) as caught:
        client.chat.completions.create(**asked)
    assert caught.value.body["type"] == "invalid_request_error"
    with pytest.raises(BadRequestError, match=told):  # a stream has the same status
        list(client.chat.completions.create(**asked, stream=True))


def test_another_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(NotFoundError, match="tiny"):
        client.chat.completions.create(model="gpt-4o", messages=ASK)


def test_what_is_no_json_is_refused(http: httpx.Client) -> None:
    for content in (b"{", b"\xff\xfe", b"[]", b"null", b"[" * 100_000):
        answer = http.post(
            "/v1/chat/completions",
            content=content,
            headers={"content-type": "application/json"},
        )
        assert answer.status_code == 400, content[:10]
        assert answer.json()["error"]["message"]
