"""How much faster dictionaries are built than in the obvious way, and whether they are the same.

The obvious way takes one contrast pair at a time and runs both its sides from scratch, through all
layers and on to the vocabulary. Where the model is in float32, both ways' vectors are compared.
"""

import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.protocol import Benchmark, Figure, Setting, interleaved, ratio
from trimtab.agent.shop.pairs import tool_choice_pairs
from trimtab.envs.shop.environment import ShopEnvironment
from trimtab.envs.shop.world import World
from trimtab.envs.worlds.bazaar import generate_bazaar
from trimtab.steering import ContrastPair, Exchange, Point, SteeredModel
from trimtab.steering.contrast.context import HistorySample, contexts
from trimtab.steering.contrast.pairs import Messages, context_pairs, response_pairs
from trimtab.steering.contrast.relevance import by_recency
from trimtab.steering.decoder.prefixes import Prefixes
from trimtab.steering.decoder.sublayers import first_tensor
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


def review_prompt(input: str, shown: Sequence[HistorySample]) -> Messages:
    lines = [f"My review of {sample.input}:\n{sample.output}" for sample in shown]
    content = "\n\n".join([*lines, f"Write my review of {input}."])
    return [
        {"role": "system", "content": "You write product reviews in the user's own voice."},
        {"role": "user", "content": content},
    ]


def reviews(world: World) -> dict[str, list[HistorySample]]:
    return {
        user: [
            HistorySample(str(n), bought.product_info.title, bought.review.text, bought.timestamp)
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
    exchange = model.tokenized(side)
    outputs: dict[Point, Tensor] = {}
    handles = []
    for point in points:
        layer = model.parts.layers[point.layer]
        places = {"mlp": layer.mlp.module, "block": layer.block}
        module = places.get(point.site, layer.attention.module)
        handles.append(
            module.register_forward_hook(
                lambda m, a, out, point=point: outputs.__setitem__(point, first_tensor(out))
            )
        )
    states = model.hf(
        torch.tensor([[*exchange.prompt, *exchange.answer]], device=model.device),
        output_hidden_states=True,
    ).hidden_states
    for handle in handles:
        handle.remove()
    found = []
    for point in points:
        activation = outputs[point]
        if point.site == "mid":
            activation = activation + states[point.layer]
        found.append(activation[0, len(exchange.prompt) :].float().mean(dim=0).cpu())
    return torch.stack(found)


def run(setting: Setting) -> Iterator[Figure]:
    model = setting.model()
    settings = SteeringSettings()
    points = points_of(settings.layers(model), settings.sites)
    world = generate_bazaar(users=3, products=300)
    for kind, pairs_of in KINDS.items():
        count = setting.size(16 if kind == "tools" else 6, 3)
        pairs = list(islice(pairs_of(world), count))
        read: dict[str, Tensor] = {}

        def ours(pairs: Sequence[ContrastPair] = pairs, read: dict[str, Tensor] = read) -> None:
            read["ours"] = build(model, pairs, points)

        def obvious(pairs: Sequence[ContrastPair] = pairs, read: dict[str, Tensor] = read) -> None:
            read["obvious"] = build_obviously(model, pairs, points)

        # The obvious way takes minutes. Nothing is warmed up: what pairs share runs in the time.
        model._prefixes = Prefixes()
        times = interleaved({"obvious": obvious, "ours": ours}, 1, warm=False)
        name = f"the obvious way / ours, {len(pairs)} pairs of {kind}"
        aim = 8 if kind == "tools" else None
        yield ratio(name, times, "obvious", "ours", at_least=aim, per=len(pairs))
        if model.hf.dtype == torch.float32:
            apart = (read["ours"] - read["obvious"]).norm(dim=-1)
            worst = (apart / read["obvious"].norm(dim=-1)).max().item()
            yield Figure(f"how far the two ways' vectors of {kind} are apart", worst, at_most=1e-3)


BENCHMARK = Benchmark("dictionary", "Building a dictionary from contrast pairs.", run)
