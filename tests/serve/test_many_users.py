"""64 users at once, each with a dictionary that makes the answer theirs: never another user's."""

import asyncio

import httpx
import pytest
from openai import AsyncOpenAI

from trimtab.serve.opening import open_service
from trimtab.steering.dictionaries.dictionary import SteeringDictionary
from trimtab.steering.dictionaries.settings import SteeringSettings
from trimtab.steering.store.steering_store import SteeringStore
from trimtab.steering.vectors.entries import Entry
from trimtab.steering.vectors.steering_vectors import points_of

from .conftest import running
from .processes import Server

USERS = 64
LAST = SteeringSettings(sites=("block",), depths=(1.0,), strength=1000.0, positions="all")


@pytest.fixture(scope="module")
def letters(served_model, tmp_path_factory) -> tuple[str, dict[str, str]]:
    """A store in which each user's vector points to a letter of their own: its URL, the letters."""
    model = served_model
    heads = model.hf.get_output_embeddings().weight.float()
    points = points_of(LAST.layers(model), LAST.sites)
    tokens = [
        token
        for token in range(256)
        if int((heads @ heads[token]).argmax()) == token
        and model.tokenizer.decode([token]).isprintable()
        and model.tokenizer.decode([token]).isascii()
        and model.tokenizer.decode([token]).strip()
    ][:USERS]
    assert len(tokens) == USERS
    key = model.encoder.encode(["Who am I?"])
    wanted = {}
    place = f"sqlite:///{tmp_path_factory.mktemp('letters') / 'users.db'}"
    with SteeringStore(place, model=model) as store:
        for number, token in enumerate(tokens):
            user = f"user-{number}"
            wanted[user] = model.tokenizer.decode([token])
            store.put(
                SteeringDictionary(
                    user_id=user,
                    fingerprint=model.fingerprint,
                    points=points,
                    encoder_name=model.encoder.name,
                    entries=[Entry("s", "Who am I?", wanted[user], "response", 0)],
                    keys=key,
                    vectors=heads[token][None, None],
                )
            )
    return place, wanted


async def asked_of_all(urls: list[str], wanted: dict[str, str], rounds: int) -> list[str]:
    """Everybody asks at once, plain and streamed; what came under the wrong user."""
    clients = [
        AsyncOpenAI(base_url=f"{u}/v1", api_key="none", max_retries=8, timeout=120) for u in urls
    ]

    async def ask(user: str, number: int) -> list[str]:
        wrong = []
        for turn in range(rounds):
            client = clients[(number + turn) % len(clients)]
            options = {
                "model": "tiny",
                "messages": [{"role": "user", "content": f"Who am I? {number} {turn}"}],
                "user": user,
                "max_tokens": 6 + number % 5,
            }
            if (number + turn) % 2:
                text = ""
                async for chunk in await client.chat.completions.create(**options, stream=True):
                    text += "".join(choice.delta.content or "" for choice in chunk.choices)
            else:
                answer = await client.chat.completions.create(**options)
                text = answer.choices[0].message.content
            if set(text) != {wanted[user]}:
                wrong.append(f"{user}: {text!r}, expected {wanted[user]!r}")
        return wrong

    found = await asyncio.gather(*(ask(user, n) for n, user in enumerate(wanted)))
    for client in clients:
        await client.close()
    return [line for lines in found for line in lines]


def test_nobody_is_answered_by_another_users_vectors(served_model, letters) -> None:
    place, wanted = letters
    service = open_service(served_model, place, settings=LAST, name="tiny", max_waiting=USERS)
    with running(service) as url:
        assert not asyncio.run(asked_of_all([url], wanted, rounds=3))


def test_nor_by_two_processes_on_one_database(letters, tiny_model_folder, tmp_path) -> None:
    place, wanted = letters
    (tmp_path / "model").symlink_to(tiny_model_folder)
    servers = [Server(tmp_path, place, LAST, "--max-waiting", str(USERS)) for _ in range(2)]
    try:
        urls = [server.url for server in servers]
        assert not asyncio.run(asked_of_all(urls, wanted, rounds=2))
        # Told to one, a change counts in the other at once.
        with httpx.Client(timeout=60) as http:
            http.patch(f"{urls[0]}/v1/users/user-3", json={"enabled": False})
            ask = {"model": "tiny", "messages": [{"role": "user", "content": "Who am I?"}]}
            answer = http.post(f"{urls[1]}/v1/chat/completions", json={**ask, "user": "user-3"})
            assert answer.json()["steering"]["reason"] == "switched off"
            http.delete(f"{urls[0]}/v1/users/user-4")
            answer = http.post(f"{urls[1]}/v1/chat/completions", json={**ask, "user": "user-4"})
            assert answer.json()["steering"]["reason"] == "nothing kept"
        assert [server.end() for server in servers] == [0, 0]
    finally:
        for server in servers:
            server.process.kill()
