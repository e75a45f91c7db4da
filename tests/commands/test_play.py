"""Playing the user: at a terminal, through kills, and what is kept of it."""

import io
import json
import os
import pty
import signal
from pathlib import Path

import pytest
from filelock import FileLock
from rich.console import Console

from trimtab.commands.play import play_command
from trimtab.errors import TrimtabError

from ..forks import Forked


class Terminal:
    """A process at a pseudo-terminal of its own."""

    def __init__(self, **values):
        self.master, slave = pty.openpty()
        self.process = Forked(
            "import runpy; runpy.run_path(script)['at_terminal'](line, terminal, home, *arguments)",
            script=str(Path(__file__).with_name("played.py")),
            terminal=os.ttyname(slave),
            **values,
        )
        # Until it has opened its side: a terminal whose last side is closed is gone.
        assert self.process.said.recv() == "open"
        os.close(slave)
        self.text = ""

    def until(self, expected):
        """Read up to the expected text and return what came before it."""
        while expected not in self.text:
            self._read(f"ended without {expected!r}")
        before, _, self.text = self.text.partition(expected)
        return before

    def rest(self):
        try:
            while True:
                self._read("")
        except EOFError:
            return self.text

    def say(self, line):
        os.write(self.master, f"{line}\n".encode())

    def end(self):
        code = self.process.ended()
        os.close(self.master)
        return code

    def kill(self):
        self.process.kill()
        return self.end()

    def _read(self, problem):
        try:
            piece = os.read(self.master, 4096)
        except OSError:  # how Linux tells that the other side is gone
            piece = b""
        if not piece:
            raise EOFError(f"{problem}: {self.text}")
        self.text += piece.decode(errors="replace").replace("\r\n", "\n")


@pytest.fixture
def terminal(folders, tmp_path):
    """Start the scripted play at a terminal; with a step before which it waits to be killed."""
    started = []

    def start(*blocked):
        arguments = [str(folders / "world"), str(tmp_path), *blocked]
        started.append(Terminal(home=str(folders / "home"), arguments=arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()


def test_an_episode_survives_kills_and_goes_on(terminal, tmp_path):
    first = terminal(1)
    assert "You are" in first.until("You say")
    first.say("something for rain")
    first.until("The agent says: Which one?")
    first.until("to leave) >")
    first.say("the light one")
    first.until("blocked")
    assert first.kill() == -signal.SIGKILL

    second = terminal()
    assert "steps so far: 1" in second.until("The agent says: Is it this one?")
    second.until("to leave) >")
    assert second.kill() == -signal.SIGKILL

    third = terminal()
    assert "steps so far: 3" in third.until("to leave) >")
    third.say("yes")
    assert "done; kept in" in third.rest()
    assert third.end() == 0

    assert (tmp_path / "asked").read_text().split() == ["0", "1", "1", "2", "3"]
    [record] = map(json.loads, (tmp_path / "play/results.jsonl").open())
    episode = record["detail"]["episode"]
    assert episode["request"] == "something for rain"
    assert [step["call"]["name"] for step in episode["steps"]] == [
        "respond",
        "search_product_by_query",
        "respond",
        "stop",
    ]
    assert [step["reply"] for step in episode["steps"]] == ["the light one", None, "yes", None]


@pytest.fixture
def play(folders, monkeypatch, tmp_path):
    """Play with the tiny random model; what the person says are the given lines."""
    monkeypatch.setenv("TRIMTAB_HOME", str(folders / "home"))

    def play(*lines, **options):
        def ask(prompt):
            play.asked.append(prompt)
            if not said:
                raise EOFError
            return said.pop(0)

        said, play.asked = list(lines), []
        console = Console(file=io.StringIO(), width=100)
        given = {"model": str(folders / "model"), "world": str(folders / "world")}
        play_command(**{**given, "console": console, "ask": ask, "out": tmp_path / "p", **options})
        return console.file.getvalue()

    return play


def test_a_person_who_goes_away_may_come_back(play, tmp_path):
    text = play()
    assert "the same command resumes it" in text
    assert not (tmp_path / "p/results.jsonl").exists()


def test_a_whole_episode_steered_by_the_users_dictionary(play, tmp_path):
    text = play("", *["yes"] * 9)
    assert "score" in text and "kept in" in text
    assert "picked" in text
    [record] = map(json.loads, (tmp_path / "p/results.jsonl").open())
    assert record["method"] == "fints"
    assert len(record["detail"]["episode"]["steps"]) <= 10
    assert record["detail"]["episode"]["request"] in play.asked[0]
    play()  # what is over is not resumed
    assert play.asked[0].startswith("You say (Enter: ")


def test_a_play_is_kept_by_its_arguments_where_nobody_says_where(play, folders):
    play(out=None)
    play(out=None, prompting="react", steered=False)
    play(out=None)
    assert len(list((folders / "home/plays").iterdir())) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task": "test-nope"}, "no test task 'test-nope'; expected an id such as 'test-"),
        ({"user": "nobody"}, "no user 'nobody'"),
        ({"memory": "all"}, "memory mode none, random, last, relevant, full; got 'all'"),
        ({"prompting": "loud"}, "call or react"),
        ({"steps": 0}, "step_limit of at least 1"),
        ({"store": "x", "dictionaries": Path("y")}, "got both"),
    ],
)
def test_bad_input_is_refused_in_one_line(play, options, said):
    with pytest.raises(TrimtabError, match=said) as refused:
        play(**options)
    assert "\n" not in str(refused.value)


def test_another_play_does_not_go_into_the_same_folder(play):
    play()
    with pytest.raises(TrimtabError, match="another configuration"):
        play(prompting="react")


def test_two_cannot_play_the_same_episode(play, tmp_path):
    play()
    with FileLock(tmp_path / "p/.lock"), pytest.raises(TrimtabError, match="another process"):
        play()
