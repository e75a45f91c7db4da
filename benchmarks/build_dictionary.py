"""How much faster dictionaries are built than in the obvious way, and whether they are the same.

The obvious way takes one contrast pair at a time and runs both its sides from scratch, through all
layers and on to the vocabulary. Every repetition runs both ways, one after the other, so that a
busy machine slows both alike. The vectors are compared in float32 on a few pairs.

    python benchmarks/build_dictionary.py --pairs 24 --repetitions 3
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from trimtab.agent.calling.contrast import tool_choice_pairs
from trimtab.envs.shop.environment import ShopEnvironment
from trimtab.envs.shop.world import World
from trimtab.envs.worlds.bazaar import generate_bazaar
from trimtab.steering import DEFAULT_MODEL, ContrastPair, Exchange, Point, SteeredModel
from trimtab.steering.contrast.context import Sample, contexts
from trimtab.steering.contrast.pairs import Messages, context_pairs, response_pairs
from trimtab.steering.contrast.relevance import by_recency
from trimtab.steering.decoder.families import first_tensor
from trimtab.steering.dictionaries.settings import SteeringSettings
from trimtab.steering.vectors.steering_vectors import points_of


class NoRecommender:
    """Tool descriptions are all that is needed of the shop."""

    def recommend(self, sequence: Sequence[str], k: int = 10) -> list[str]:
        return []


def tool_calls(world: World) -> list[ContrastPair]:
    """Response contrast: the right tool's name and a wrong one's, after the agent's own prompt."""
    with tempfile.TemporaryDirectory() as folder:
        shop = ShopEnvironment(world, Path(folder), recommender=NoRecommender())
        pairs = [pair for own in tool_choice_pairs(shop, world.train).values() for pair in own]
    return list({pair.sample_id: pair for pair in pairs}.values())


def review_prompt(input: str, shown: Sequence[Sample]) -> Messages:
    lines = [f"My review of {sample.input}:\n{sample.output}" for sample in shown]
    content = "\n\n".join([*lines, f"Write my review of {input}."])
    return [
        {"role": "system", "content": "You write product reviews in the user's own voice."},
        {"role": "user", "content": content},
    ]


def reviews(world: World) -> dict[str, list[Sample]]:
    return {
        user: [
            Sample(str(n), bought.product_info.title, bought.review.text, bought.timestamp)
            for n, bought in enumerate(history)
        ]
        for user, history in world.histories.items()
    }


def review_texts(world: World) -> list[ContrastPair]:
    """Response contrast: the user's own review and someone else's, after a short prompt."""
    chosen = contexts(reviews(world), by_recency(), k=1)
    others = [c.others[0].output if c.others else "" for own in chosen.values() for c in own]
    pairs = response_pairs(
        chosen,
        review_prompt,
        lambda prompts: [[other] for other in others],
        score=lambda answer, own: 0.0,
        threshold=1.0,
    )
    return [pair for own in pairs.values() for pair in own]


def review_contexts(world: World) -> list[ContrastPair]:
    """Context contrast: the same review after the user's own earlier ones, and after others'."""
    pairs = context_pairs(contexts(reviews(world), by_recency(), k=3), review_prompt)
    return [pair for own in pairs.values() for pair in own]


KINDS = {"tools": tool_calls, "reviews": review_texts, "contexts": review_contexts}


def build(model: SteeredModel, pairs: Sequence[ContrastPair], points: Sequence[Point]) -> Tensor:
    """As ``SteeringDictionary.build`` reads vectors: ``(pairs, points, hidden_size)``."""
    sides = [side for pair in pairs for side in (pair.positive, pair.negative)]
    read = model.mean_activations(sides, points)
    return read[0::2] - read[1::2]


def build_obviously(
    model: SteeredModel, pairs: Sequence[ContrastPair], points: Sequence[Point]
) -> Tensor:
    """The same, a side at a time."""
    return torch.stack(
        [
            read_obviously(model, pair.positive, points)
            - read_obviously(model, pair.negative, points)
            for pair in pairs
        ]
    )


@torch.inference_mode()
def read_obviously(model: SteeredModel, side: Exchange, points: Sequence[Point]) -> Tensor:
    forced = model.forced(side)
    outputs: dict[Point, Tensor] = {}
    handles = []
    for point in points:
        layer = model.parts.layers[point.layer]
        module = {"mlp": layer.mlp, "block": layer.block}.get(point.site, layer.attention)
        handles.append(
            module.register_forward_hook(
                lambda m, a, out, point=point: outputs.__setitem__(point, first_tensor(out))
            )
        )
    states = model.hf(
        torch.tensor([[*forced.prompt, *forced.answer]], device=model.device),
        output_hidden_states=True,
    ).hidden_states
    for handle in handles:
        handle.remove()
    found = []
    for point in points:
        activation = outputs[point]
        if point.site == "mid":
            activation = activation + states[point.layer]
        found.append(activation[0, len(forced.prompt) :].float().mean(dim=0).cpu())
    return torch.stack(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--kind", choices=KINDS, default="tools")
    parser.add_argument("--pairs", type=int, default=96)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--exact", type=int, default=4, help="pairs to compare in float32")
    options = parser.parse_args()

    world = generate_bazaar(users=-(-options.pairs // 10) + 1, products=300)
    pairs = list(islice(KINDS[options.kind](world), options.pairs))
    settings = SteeringSettings()
    model = SteeredModel.from_pretrained(options.model)
    points = points_of(settings.layers(model), settings.sites)
    sides = [model.forced(side) for pair in pairs for side in (pair.positive, pair.negative)]
    prompts = statistics.mean(len(side.prompt) for side in sides)
    answers = statistics.mean(len(side.answer) for side in sides)
    print(
        f"{len(pairs)} pairs of {options.kind}, {prompts:.0f} prompt tokens and {answers:.0f} "
        f"answer tokens a side; {', '.join(f'layer {p.layer} {p.site}' for p in points)}"
    )

    build(model, pairs[:2], points)  # what is made once a model
    ways = {"this library": build, "one side at a time": build_obviously}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(options.repetitions):
        for name, way in ways.items():
            started = time.perf_counter(), time.process_time()
            way(model, pairs, points)
            taken[name].append((time.perf_counter() - started[0], time.process_time() - started[1]))
    usual, obvious = (
        [statistics.median(each) for each in zip(*runs, strict=True)] for runs in taken.values()
    )
    for name, (clock, processor) in zip(ways, (usual, obvious), strict=True):
        print(f"{name:20} {clock:7.2f} s, {processor:7.2f} s of processor time")
    print(
        f"{obvious[0] / usual[0]:.1f} times faster, by processor time {obvious[1] / usual[1]:.1f}"
    )

    del model
    exact = SteeredModel.from_pretrained(options.model, dtype=torch.float32)
    chosen = pairs[:: max(len(pairs) // max(options.exact, 1), 1)][: options.exact]
    if chosen:
        found, expected = build(exact, chosen, points), build_obviously(exact, chosen, points)
        worst = ((found - expected).norm(dim=-1) / expected.norm(dim=-1)).max()
        print(f"float32: vectors differ by at most {worst:.1e} of their norm")


if __name__ == "__main__":
    main()
