"""A lock that goes to whoever has waited longest."""

import threading
import time
from collections.abc import Callable

import pytest

from trimtab.steering.decoder.turns import Turns


def started(turns: Turns, does: Callable[[], object]) -> threading.Thread:
    """A thread that waits for its turn and does something in it."""

    def run() -> None:
        with turns:
            does()

    before = len(turns._queue)
    thread = threading.Thread(target=run)
    thread.start()
    while len(turns._queue) == before:
        time.sleep(0.001)
    return thread


def test_who_takes_it_again_and_again_lets_others_in() -> None:
    turns, order = Turns(), []
    turns.acquire()
    threads = [started(turns, lambda n=n: order.append(n)) for n in range(3)]
    assert turns.wanted
    turns.release()
    with turns:
        assert order == [0, 1, 2]
        assert not turns.wanted
    for thread in threads:
        thread.join()


def test_who_gives_way_goes_on_when_it_comes_round() -> None:
    turns, order = Turns(), []
    with turns, turns:
        turns.give_way()  # nobody waits
        threads = [started(turns, lambda n=n: order.append(n)) for n in range(2)]
        turns.give_way()
        assert order == [0, 1]
        # It is taken as often as before.
        late = started(turns, lambda: order.append(2))
    late.join()
    assert order == [0, 1, 2]
    for thread in threads:
        thread.join()


def test_nobody_releases_anothers_turn() -> None:
    turns = Turns()
    for wrong in (turns.release, turns.give_way):
        with pytest.raises(RuntimeError, match="another"):
            wrong()


class Interrupted:
    """A lock whose second ``acquire``, which waits, is interrupted; the next lock is a real one."""

    real = threading.Lock

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.times = 0
        patch.setattr(threading, "Lock", self.real)

    def acquire(self) -> None:
        self.times += 1
        if self.times == 2:
            raise KeyboardInterrupt

    def release(self) -> None:
        """Nobody waits at it any more."""


def test_who_is_interrupted_while_waiting_leaves_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns()
    over = threading.Event()
    held = threading.Event()

    def hold() -> None:
        with turns:
            held.set()
            over.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Lock", lambda: Interrupted(patch))
        with pytest.raises(KeyboardInterrupt):
            turns.acquire()
    assert not turns.wanted
    over.set()
    holder.join()
    with turns:
        pass


def test_who_is_interrupted_while_giving_way_has_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    turns, order = Turns(), []
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), turns, turns:
        other = started(turns, lambda: order.append("other"))
        patch.setattr(threading, "Lock", lambda: Interrupted(patch))
        try:
            turns.give_way()
        finally:
            assert order == ["other"]
            order.append("own")
            late = started(turns, lambda: order.append("late"))
    for thread in (other, late):
        thread.join()
    assert order == ["other", "own", "late"]
    with turns:
        pass
