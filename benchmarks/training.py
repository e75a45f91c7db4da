"""How much faster training is where it begins at the lowest change, and whether it ends the same.

The lower layers' hidden states and the prompts' keys are computed once, in the time that is
measured. The plain way runs every layer over every token in every step. Both ways' trained numbers
are compared in float32.
"""

import random
from collections.abc import Iterator

import torch

from benchmarks.protocol import Benchmark, Figure, Setting, interleaved, ratio
from trimtab.eval.training.examples import Example
from trimtab.eval.training.loop import train
from trimtab.eval.training.options import TrainingOptions
from trimtab.eval.training.trainable import LowRankStack

PROMPT, ANSWER = 80, 20  # tokens of a request and of a tweet


def run(setting: Setting) -> Iterator[Figure]:
    model = setting.model()
    drawn = random.Random(0)
    count, epochs = setting.size(8, 2), setting.size(3, 2)
    examples = [
        Example(
            0,
            tuple(drawn.choices(range(100, 10_000), k=PROMPT)),
            tuple(drawn.choices(range(100, 10_000), k=ANSWER)),
        )
        for _ in range(count)
    ]
    options = TrainingOptions(epochs=epochs, batch_size=8, patience=0)
    width = model.hf.config.get_text_config().hidden_size
    for depth in (0.72,):
        layer = model.layer_at(depth)
        made: dict[str, LowRankStack] = {}

        def trained(
            way: str,
            keep: bool,
            layer: int = layer,
            made: dict[str, LowRankStack] = made,
        ) -> None:
            made[way] = LowRankStack((layer,), width, 8, "answer", device=model.device)
            train(model, made[way], examples, options, keep_lower=keep)

        times = interleaved(
            {
                "plain": lambda trained=trained: trained("plain", keep=False),
                "ours": lambda trained=trained: trained("ours", keep=True),
            },
            setting.size(2, 1),
            warm=False,
        )
        name = f"plain training / ours, depth {depth:g}, {count} samples, {epochs} epochs"
        steps = epochs * -(-count // options.batch_size)
        yield ratio(name, times, "plain", "ours", at_least=2, per=steps)
        if model.hf.dtype == torch.float32:
            apart = max(
                (made["plain"].numbers[n] - made["ours"].numbers[n]).abs().max().item()
                for n in made["plain"].numbers
            )
            yield Figure("how far the two ways' numbers are apart", apart, at_most=1e-4)


BENCHMARK = Benchmark("training", "A training step of a low-rank intervention.", run)
