"""A database that is stopped and started under load: clear errors, then on, and nothing lost."""

import threading
import time
from collections.abc import Callable
from itertools import count

import httpx

from trimtab.serve.opening import open_service

from .conftest import SETTINGS, running

USERS = ["ann", "bob", "cleo"]


class Load:
    """One user who tells, asks and looks, in turn, until it is over."""

    def __init__(self, url: str, user: str) -> None:
        self.url, self.user = url, user
        self.over = threading.Event()
        self.answers: list[httpx.Response] = []
        self.acknowledged: list[str] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        own = f"/v1/users/{self.user}"
        ask = {"messages": [{"role": "user", "content": "Which lamp?"}], "max_tokens": 3}
        with httpx.Client(base_url=self.url, timeout=60) as http:
            for number in count():
                told = {"id": f"i{number}", "request": "A lamp?", "chosen": f"{number}"}
                kept = http.post(f"{own}/interactions", json={**told, "rejected": "no"})
                if kept.status_code == 202:
                    self.acknowledged.append(told["id"])
                asked = {"model": "tiny", "user": self.user, **ask}
                self.answers += [
                    kept,
                    http.post("/v1/chat/completions", json=asked),
                    http.get(own),
                    http.get("/readyz"),
                ]
                if self.over.is_set():
                    return

    def more(self, good: bool) -> Callable[[], bool]:
        """Whether answers of each kind have come since now, all good or all refused."""
        start = len(self.answers)
        return lambda: sum(a.is_success == good for a in self.answers[start:]) >= 8

    def end(self) -> None:
        self.over.set()
        self._thread.join()


def test_a_database_that_goes_and_comes_back(served_model, postgres_server) -> None:
    service = open_service(
        served_model, postgres_server.new_database(), settings=SETTINGS, name="tiny"
    )
    with running(service) as url:
        loads = [Load(url, user) for user in USERS]

        def until(good: bool) -> None:
            waits = [load.more(good) for load in loads]
            while not all(came() for came in waits):
                assert all(load._thread.is_alive() for load in loads)
                time.sleep(0.02)

        try:
            until(good=True)
            postgres_server.stop()
            try:
                until(good=False)
            finally:
                postgres_server.start()
            until(good=True)
        finally:
            for load in loads:
                load.end()
        refused = [a for load in loads for a in load.answers if not a.is_success]
        assert refused
        assert not [(a.status_code, a.text) for a in refused if a.status_code != 503]
        for answer in refused:
            assert answer.json()["error"]["code"] == "store_unavailable"
            assert answer.headers["Retry-After"]
        # All that was acknowledged is learned from, once.
        with httpx.Client(base_url=url, timeout=60) as http:
            for load in loads:
                while http.get(f"/v1/users/{load.user}").json()["waiting"]:
                    time.sleep(0.02)
                kept = http.get(f"/v1/users/{load.user}").json()["entries"]
                ids = [entry["id"] for entry in kept]
                assert len(ids) == len(set(ids))
                assert set(load.acknowledged) <= set(ids)
