"""Nothing that comes in makes the server fail."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error

from trimtab.serve.app import create_app
from trimtab.serve.opening import open_service

from .conftest import SETTINGS

ASK = [{"role": "user", "content": "Which lamp?"}]
CHAT = "/v1/chat/completions"


def test_no_input_makes_it_fail(server: str) -> None:
    api = schemathesis.openapi.from_url(f"{server}/openapi.json")
    operations = [found.ok() for found in api.get_all_operations()]
    assert len(operations) >= 14
    for operation in operations:

        @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def check(case) -> None:
            case.call_and_validate(checks=(not_a_server_error,), timeout=60)

        check()


def test_a_body_of_50_megabytes_is_refused_before_it_is_read(http: httpx.Client) -> None:
    body = b'{"model": "tiny", "messages": "' + b"x" * 50 * 2**20 + b'"}'
    try:
        status = http.post(CHAT, content=body).status_code
    except httpx.WriteError:  # the server closed while the client was still writing
        return
    assert status == 413


def test_a_body_without_a_length_is_bounded_too(http: httpx.Client) -> None:
    def parts():
        for _ in range(50):
            yield b" " * 2**20

    try:
        assert http.post(CHAT, content=parts()).status_code == 413
    except httpx.WriteError:
        return


def test_ten_thousand_tools_are_refused_or_answered(http: httpx.Client) -> None:
    tools = [{"type": "function", "function": {"name": f"tool_{n}"}} for n in range(10_000)]
    answer = http.post(CHAT, json={"model": "tiny", "messages": ASK, "tools": tools})
    assert answer.status_code == 400
    assert "tokens" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "content",
    [
        b'{"model": "tiny", "messages": [{"role": "user", "content": "\xff"}]}',
        b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "tiny", "messages": [{"role": "user", "content": "a"}], "temperature": NaN}',
        b'{"model": "tiny", "messages": [{"role": "user", "content": "a"}], "seed": 1e999}',
        b'{"a": ' * 50_000,
        b"9" * 10_000,
    ],
    ids=["utf-8", "surrogate", "nan", "infinity", "nested", "long number"],
)
def test_what_no_reader_of_json_takes_is_refused(http: httpx.Client, content: bytes) -> None:
    answer = http.post(CHAT, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_tool_that_cannot_be_constrained_does_not_fail_the_server(http: httpx.Client) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": 3}}}
    asked = {"model": "tiny", "messages": ASK, "tools": [tool], "tool_choice": "required"}
    answer = http.post(CHAT, json=asked)
    assert answer.status_code == 400
    assert "f" in answer.json()["error"]["message"]


def test_a_fault_of_the_server_is_told_as_one(served_model, tmp_path, monkeypatch) -> None:
    from starlette.testclient import TestClient

    service = open_service(served_model, tmp_path / "users.db", settings=SETTINGS, name="tiny")
    monkeypatch.setattr(service.whose, "steered", lambda *_: 1 / 0)
    client = TestClient(
        create_app(service), base_url="http://localhost", raise_server_exceptions=False
    )
    answer = client.post(CHAT, json={"model": "tiny", "messages": ASK})
    service.close()
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert "division" not in answer.text
