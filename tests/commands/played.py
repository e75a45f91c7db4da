"""A process that plays an episode with a scripted model, for tests that kill it.

    python played.py WORLD FOLDER [STEP]

Each step that the model is asked for is a line of FOLDER/asked. Before the answer to STEP, the
process says "blocked" and waits to be killed.
"""

import json
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


def main(world, folder, blocked=None):
    folder = Path(folder)
    model = Model(folder / "asked", None if blocked is None else int(blocked))
    SteeredModel.from_pretrained = lambda name, **placement: model
    try:
        play_command(model="scripted", world=world, steered=False, out=folder / "play")
    except TrimtabError as error:
        print("error:", error)


if __name__ == "__main__":
    main(*sys.argv[1:])
