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


def _under_many(answers: list[TokenizedExchange]) -> tuple[list, list[Steering | None]]:
    """Each answer unsteered and under six steerings, of which none changes layer 2 or one below."""
    torch.manual_seed(1)
    rows = [
        Steering(SteeringVectors({Point(layer, site): torch.randn(32)}), strength, positions=2)
        for layer, site in ((2, "block"), (3, "mlp"), (3, "mid"))
        for strength in (0.5, -2.0)
    ]
    every = [*rows, None]
    return [sample for sample in answers for _ in every], [row for _ in answers for row in every]


def test_an_answer_under_many_steerings_is_as_likely_as_under_each_alone(
    any_family, tiny_tokenizer
) -> None:
    model = SteeredModel(any_family, tiny_tokenizer)
    forced, steerings = _under_many(FORCED)
    alone = [
        answer_log_likelihoods(model, [sample], [row])
        for sample, row in zip(forced, steerings, strict=True)
    ]
    together = answer_log_likelihoods(model, forced, steerings)
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=1e-4)


def test_the_layers_below_all_steerings_run_once_an_answer(tiny_steered: SteeredModel) -> None:
    rows: dict[int, int] = {}

    def count(layer: int, hidden: torch.Tensor) -> None:
        if hidden.shape[1] == 4:  # the last prompt token and the longest answer
            rows[layer] = rows.get(layer, 0) + len(hidden)

    handles = [
        layer.attention.module.register_forward_hook(
            lambda module, args, output, n=n: count(n, output[0])
        )
        for n, layer in enumerate(tiny_steered.parts.layers)
    ]
    try:
        answer_log_likelihoods(tiny_steered, *_under_many(FORCED[:2]))
    finally:
        for handle in handles:
            handle.remove()
    assert rows == {0: 2, 1: 2, 2: 2, 3: 14}
