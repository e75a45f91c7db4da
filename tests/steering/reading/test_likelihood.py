"""Teacher-forced likelihood against one plain pass with all logits."""

import torch

from trimtab.steering import Point, SteeredModel, Steering, SteeringVectors
from trimtab.steering.reading.likelihood import answer_log_likelihoods
from trimtab.steering.reading.teacher_forcing import TokenizedExchange

SYSTEM = tuple(range(10, 40))
FORCED = [
    TokenizedExchange((*SYSTEM, 41, 42), (50, 51, 52)),
    TokenizedExchange((*SYSTEM, 41, 42), (53,)),
    TokenizedExchange((*SYSTEM, 43, 44, 45), (54, 55)),
]


def test_equals_a_plain_pass(tiny_steered: SteeredModel) -> None:
    vectors = SteeringVectors({Point(1, "mlp"): torch.linspace(-2, 2, 32)})
    rows = [Steering(vectors, 2.0), None, Steering(vectors, -1.0)]
    for steerings in (rows, None):
        found = answer_log_likelihoods(tiny_steered, FORCED, steerings)
        for n, sample in enumerate(FORCED):
            ids = torch.tensor([[*sample.prompt, *sample.answer]])
            row = steerings[n] if steerings else None
            with (
                torch.inference_mode(),
                tiny_steered.steered([row], prompt_lengths=[len(sample.prompt)]),
            ):
                logs = tiny_steered.hf(ids).logits[0].log_softmax(-1)
            start = len(sample.prompt) - 1
            expected = sum(logs[start + t, token] for t, token in enumerate(sample.answer))
            torch.testing.assert_close(found[n], expected, atol=1e-4, rtol=1e-4)
