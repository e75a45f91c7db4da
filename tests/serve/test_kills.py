"""A server killed while it learns and forgets: what it acknowledged holds.

`TRIMTAB_KILLS=30 pytest tests/serve/test_kills.py` kills it more often.
"""

import os
import random
import threading
import time

import httpx

from .conftest import SETTINGS
from .processes import Server

KILLS = int(os.environ.get("TRIMTAB_KILLS", "2"))
USERS = [f"user-{number}" for number in range(4)]


class Told:
    """What one user told and forgot, and what the server acknowledged of it."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.kept: set[str] = set()
        self.gone: set[str] = set()
        self.unsure: set[str] = set()  # told or forgotten when the server was killed

    def talk(self, url: str, chance: random.Random, over: threading.Event) -> None:
        """Tell and forget until the server is gone."""
        with httpx.Client(base_url=url, timeout=60) as http:
            while not over.is_set():
                try:
                    if chance.random() < 0.15:
                        self.unsure |= self.kept
                        self.kept = set()
                        assert http.delete(f"/v1/users/{self.user}").status_code == 200
                        self.gone |= self.unsure
                        self.unsure = set()
                        continue
                    id = f"{chance.getrandbits(64):x}"
                    self.unsure.add(id)
                    body = {"id": id, "request": f"Which {id}?", "chosen": id, "rejected": "no"}
                    for _ in range(1 + (chance.random() < 0.2)):  # some are told twice
                        answer = http.post(f"/v1/users/{self.user}/interactions", json=body)
                        assert answer.status_code == 202, answer.text
                    self.unsure.discard(id)
                    self.kept.add(id)
                except httpx.TransportError:
                    return

    def check(self, http: httpx.Client) -> None:
        """Whether the server that came after knows what it should."""
        for _ in range(600):
            ids = [e["id"] for e in http.get(f"/v1/users/{self.user}").json()["entries"]]
            if self.kept <= set(ids):
                break
            time.sleep(0.1)
        assert self.kept <= set(ids), "lost what was acknowledged"
        assert len(ids) == len(set(ids)), "doubled"
        assert not self.gone & set(ids), "came back after it was forgotten"
        assert set(ids) <= self.kept | self.unsure, "came from nowhere"
        self.kept, self.unsure = set(ids), self.unsure - set(ids)


def test_a_killed_server_keeps_its_word(tiny_model_folder, tmp_path) -> None:
    (tmp_path / "model").symlink_to(tiny_model_folder)
    store = f"sqlite:///{tmp_path / 'users.db'}"
    chance = random.Random(0)
    everyone = [Told(user) for user in USERS]
    for kill in range(KILLS + 1):
        server = Server(tmp_path, store, SETTINGS)
        try:
            url = server.url
            with httpx.Client(base_url=url, timeout=60) as http:
                for told in everyone:
                    told.check(http)
            if kill == KILLS:
                assert server.end() == 0
                break
            over = threading.Event()
            talks = [
                threading.Thread(target=t.talk, args=(url, random.Random(chance.random()), over))
                for t in everyone
            ]
            for talk in talks:
                talk.start()
            time.sleep(chance.uniform(0.05, 2.0))
            server.kill()
            over.set()
            for talk in talks:
                talk.join()
        finally:
            server.kill()
    assert any(told.kept for told in everyone)


def test_a_server_that_is_ended_finishes_what_is_under_way(tiny_model_folder, tmp_path) -> None:
    (tmp_path / "model").symlink_to(tiny_model_folder)
    server = Server(tmp_path, f"sqlite:///{tmp_path / 'users.db'}", SETTINGS)
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Which lamp?"}],
        "max_tokens": 400,
        "temperature": 1.5,
        "seed": 2,
        "stream": True,
    }
    try:
        url = server.url
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            server.tell_to_end()
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert server.end() == 0
    finally:
        server.kill()
