"""A process at a terminal that plays an episode with a scripted model, for tests that kill it.

Each step that the model is asked for is a line of FOLDER/asked. Before the answer to the step that
blocks, the process says "blocked" and waits to be killed.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from trimtab.commands.play import play_command
from trimtab.errors import TrimtabError
from trimtab.steering import Completion, SteeredModel

STEPS = [
    ("respond", {"content": "Which one?"}),
    ("search_product_by_query", {"query": "rain"}),
    ("respond", {"content": "Is it this one?"}),
    ("stop", {}),
]


class Encoder:
    name = "constant"

    def encode(self, texts):
        return torch.ones(len(texts), 1)

    def similarity(self, left, right):
        return 1.0


class Model:
    name, fingerprint, encoder = "scripted", "f", Encoder()

    def __init__(self, log, blocked):
        self.log, self.blocked = log, blocked

    def generate(self, requests, **options):
        [request] = requests
        step = sum(message["role"] == "assistant" for message in request.messages)
        with self.log.open("a") as log:
            log.write(f"{step}\n")
        if step == self.blocked:
            print("blocked", flush=True)
            signal.pause()
        name, arguments = STEPS[step]
        text = f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"
        return [Completion(text, (1, 2), 10, 0, "stop")]


def play(world, folder, blocked=None):
    folder = Path(folder)
    model = Model(folder / "asked", blocked)
    SteeredModel.from_pretrained = lambda name, **placement: model
    try:
        play_command(model="scripted", world=world, steered=False, out=folder / "play")
    except TrimtabError as error:
        print("error:", error)


def at_terminal(line, terminal, home, *arguments):
    """Make a terminal all that this process reads and writes, and play there."""
    os.setsid()
    opened = os.open(terminal, os.O_RDWR | os.O_NOCTTY)
    line.send("open")
    for number in range(3):
        os.dup2(opened, number)
    os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    os.environ.update(TRIMTAB_HOME=home, COLUMNS="120")
    play(*arguments)
    sys.stdout.flush()
