"""64 users at once, each with a dictionary that makes the answer theirs: never another user's."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from trimtab.serve.opening import open_service

from .conftest import running
from .letters import LAST, USERS, Heard, asked_of_all, put_letters
from .processes import Server


@pytest.fixture(scope="module")
def letters(served_model, tmp_path_factory) -> tuple[str, dict[str, str]]:
    """A store in which each user's vector points to a letter of their own: its URL, the letters."""
    place = f"sqlite:///{tmp_path_factory.mktemp('letters') / 'users.db'}"
    return place, put_letters(served_model, place)


def all_right(urls: list[str], wanted: dict[str, str], rounds: int) -> None:
    """Everybody asks at once, and is answered as themselves."""
    asked = Heard()
    asyncio.run(asked_of_all(urls, wanted, rounds, asked))
    assert not asked.wrong
    assert not asked.failed
    assert asked.right == rounds * len(wanted)


def told_at_once(http: httpx.Client, urls: list[str], user: str) -> list[str]:
    """What servers say of one interaction that they are told sixteen times at once."""
    done = {"id": "once", "request": "Who am I?", "chosen": "You.", "rejected": "Nobody."}

    def tell(number: int) -> str:
        url = urls[number % len(urls)]
        return str(http.post(f"{url}/v1/users/{user}/interactions", json=done).json()["status"])

    with ThreadPoolExecutor(16) as pool:
        said = sorted(pool.map(tell, range(16)))
    ask = {"model": "tiny", "messages": [{"role": "user", "content": "Who am I?"}], "user": user}
    for url in urls:  # whichever of them learns from it
        http.post(f"{url}/v1/chat/completions", json={**ask, "max_tokens": 1})
    ids = [one["id"] for one in http.get(f"{urls[0]}/v1/users/{user}").json()["entries"]]
    assert ids == ["s", "once"]
    return said


def test_nobody_is_answered_by_another_users_vectors(served_model, letters) -> None:
    place, wanted = letters
    service = open_service(served_model, place, settings=LAST, name="tiny", max_waiting=USERS)
    with running(service) as url:
        all_right([url], wanted, rounds=2)


def test_nor_by_two_processes_on_one_database(letters, tiny_model_folder, tmp_path) -> None:
    place, wanted = letters
    (tmp_path / "model").symlink_to(tiny_model_folder)
    servers = [Server(tmp_path, place, LAST, "--max-waiting", str(USERS)) for _ in range(2)]
    try:
        urls = [server.url for server in servers]
        all_right(urls, wanted, rounds=2)
        # Told to one, a change counts in the other at once.
        with httpx.Client(timeout=60) as http:
            assert told_at_once(http, urls, "user-5") == ["kept"] + 15 * ["known"]
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
            server.kill()
