"""A user behind an OpenAI-compatible endpoint, against a real server on this machine."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from trimtab.agent.users import Conversation, EndpointUser, UserGoal
from trimtab.errors import TrimtabError

SAID = Conversation(UserGoal("search", {"Age": "40"}), "a lamp", ("which?",), ())


def completion(text):
    return 200, {}, {"choices": [{"message": {"role": "assistant", "content": text}}]}


@pytest.fixture
def server():
    """A server that gives the answers it is told to, in order, and keeps what it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, self.headers, body))
            answer = answers.pop(0)
            if answer is None:  # hang up
                self.close_connection = True
                return
            status, headers, content = answer
            text = content if isinstance(content, str) else json.dumps(content)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    answers, asked = [], []
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    httpd.url = f"http://127.0.0.1:{httpd.server_port}/v1"
    httpd.answers, httpd.asked = answers, asked
    yield httpd
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def user(server, monkeypatch):
    """Make a user of that server; ``user.waits`` are the seconds that it would have waited."""
    for name in ("TRIMTAB_USER_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    waits = []

    def make(**options):
        return EndpointUser(server.url, "a-model", pause=waits.append, **options)

    make.waits = waits
    return make


def test_the_endpoint_is_asked_as_openais_is(server, user, monkeypatch):
    monkeypatch.setenv("TRIMTAB_USER_API_KEY", "sesame")
    server.answers.append(completion('"The red one."'))
    assert user(temperature=0.5).answer(SAID).text == "The red one."
    [(path, headers, body)] = server.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer sesame"
    assert (body["model"], body["temperature"]) == ("a-model", 0.5)
    assert "Age: 40" in body["messages"][0]["content"]
    assert body["messages"][-1] == {"role": "user", "content": "which?"}


def test_a_key_of_its_own_comes_first_and_none_is_sent_where_there_is_none(
    server, user, monkeypatch
):
    server.answers += [completion("a"), completion("b")]
    user().answer(SAID)
    assert server.asked[0][1]["Authorization"] is None
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    monkeypatch.setenv("TRIMTAB_USER_API_KEY", "own")
    user().answer(SAID)
    assert server.asked[1][1]["Authorization"] == "Bearer own"


def test_openais_key_goes_to_openai_alone(server, user, monkeypatch, caplog):
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    server.answers += [completion("a"), (401, {}, {"error": {"message": "no key"}})]
    user().answer(SAID)
    assert server.asked[0][1]["Authorization"] is None
    [line] = caplog.messages
    assert line.startswith("OPENAI_API_KEY is sent to https://api.openai.com alone")
    assert "sesame" not in line
    with pytest.raises(TrimtabError, match="401 no key.*set TRIMTAB_USER_API_KEY"):
        user().answer(SAID)


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://api.openai.com/v1", "sesame"),
        ("https://API.OpenAI.com:443/v1", "sesame"),
        ("http://api.openai.com/v1", None),
        ("https://api.openai.com.evil.example/v1", None),
        ("https://api.openai.com@evil.example/v1", None),
        ("http://localhost:8000/v1", None),
    ],
)
def test_openai_is_told_by_scheme_and_host(url, key, monkeypatch):
    monkeypatch.delenv("TRIMTAB_USER_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    sent = EndpointUser(url, "m")._client.headers.get("Authorization")
    assert sent == (f"Bearer {key}" if key else None)


@pytest.mark.parametrize("given", [True, False])
def test_no_key_goes_over_plain_http_to_another_machine(given, monkeypatch):
    monkeypatch.setenv("TRIMTAB_USER_API_KEY", "" if given else "sesame")
    key = "sesame" if given else None
    with pytest.raises(TrimtabError, match="expected an https address") as refused:
        EndpointUser("http://models.example/v1", "m", key=key)
    assert "sesame" not in str(refused.value)
    for url in ("http://127.0.0.1:9/v1", "http://[::1]:9/v1", "https://models.example/v1"):
        assert "Authorization" in EndpointUser(url, "m", key=key)._client.headers


def test_what_may_pass_is_tried_again_and_waits_as_it_is_told(server, user):
    server.answers += [
        (503, {}, "busy"),
        None,
        (429, {"Retry-After": "7"}, {"error": {"message": "slow down"}}),
        completion("yes"),
    ]
    assert user().answer(SAID).text == "yes"
    assert len(server.asked) == 4
    first, second, third = user.waits
    assert 0.5 <= first < second < third
    assert third >= 7


def test_what_does_not_pass_is_told_in_one_line(server, user):
    server.answers += [(500, {}, "down\nagain")] * 3
    with pytest.raises(TrimtabError, match="failed 3 times, last with 500 down again") as refused:
        user(retries=2).answer(SAID)
    assert "\n" not in str(refused.value)


def test_a_refusal_is_not_tried_again(server, user):
    server.answers.append((401, {}, {"error": {"message": "wrong key"}}))
    with pytest.raises(TrimtabError, match="refuses: 401 wrong key"):
        user().answer(SAID)
    assert len(server.asked) == 1 and not user.waits


@pytest.mark.parametrize("content", ["not json", {"choices": []}, {"choices": [{"message": {}}]}])
def test_an_answer_of_another_kind_is_told(server, user, content):
    server.answers.append((200, {}, content))
    with pytest.raises(TrimtabError, match="expected a chat completion"):
        user().answer(SAID)


def test_no_server_is_told(user, monkeypatch):
    user = EndpointUser("http://127.0.0.1:9/v1", "m", retries=1, pause=lambda seconds: None)
    with pytest.raises(TrimtabError, match="failed 2 times, last with ConnectError"):
        user.answer(SAID)


@pytest.mark.parametrize(("url", "model"), [("localhost:80", "m"), ("http://x/v1", "")])
def test_what_is_no_endpoint_is_refused(url, model):
    with pytest.raises(TrimtabError, match="expected"):
        EndpointUser(url, model)
