"""What fast-forwarding forced tokens and sharing the prompts' prefix save, as ratios.

Every repetition runs all variants, one after the other, so that a busy machine slows all alike.
Times are those of one batch of schema-constrained calls of three shopping tools.

    python benchmarks/constrained_decoding.py --rows 24 --repetitions 5
"""

import argparse
import statistics
import time

from trimtab.agent.calling.calls import call_grammar
from trimtab.steering import DEFAULT_MODEL, Request, SteeredModel
from trimtab.steering.generation.generate import generate

SYSTEM = (
    "You are a shopping assistant. Answer each request of the user with exactly one function "
    "call: choose the function that does what this user means, and fill in its arguments from "
    "the user's message."
)
PURCHASES = "My recent purchases, oldest first:\nB01: Desk, oak\nB02: Lamp, brass\nB03: Cat mug"
ASKS = [
    "I need a light rain jacket for hiking",
    "what should I buy next?",
    "please post that the blender broke after two weeks, and that the shop was kind about it",
    "mugs with cats on them",
    "anything there that I would like?",
    "write that these headphones have great bass but scratch easily",
]
VARIANTS = {
    "as it is": {},
    "without fast-forward": {"fast_forward": False},
    "without shared prefix": {"share_prefix": False},
    "without both": {"fast_forward": False, "share_prefix": False},
}


def tool(name: str, description: str, **properties: dict[str, object]) -> dict[str, object]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


TOOLS = [
    tool(
        "search_product_by_query",
        "Search the shop for products that match a text; returns the ten best matches.",
        query={"type": "string", "description": "What to search for.", "maxLength": 200},
    ),
    tool(
        "get_recommendations_by_history",
        "Recommend ten products that fit what the user bought before.",
        product_sequence={
            "type": "array",
            "items": {"type": "string", "maxLength": 10},
            "maxItems": 30,
            "description": "Ids of products the user bought, oldest first.",
        },
    ),
    tool(
        "add_product_review",
        "Publish a review of a product in the user's name.",
        review={"type": "string", "description": "The review's text.", "maxLength": 400},
    ),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()

    model = SteeredModel.from_pretrained(options.model)
    grammar = call_grammar(TOOLS)
    requests = [
        Request(
            [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": f"{PURCHASES}\n\nRequest ({n}): {ASKS[n % len(ASKS)]}"},
            ],
            TOOLS,
            grammar=grammar,
        )
        for n in range(options.rows)
    ]
    generate(model, requests[:2], max_new_tokens=8)  # what is made once a model
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(options.repetitions):
        for name, changes in VARIANTS.items():
            started = time.perf_counter()
            made = generate(model, requests, max_new_tokens=128, **changes)
            seconds[name].append(time.perf_counter() - started)
            if name == "as it is":
                tokens = sum(len(completion.tokens) for completion in made)
                forced = sum(completion.forced_tokens for completion in made)

    usual = statistics.median(seconds["as it is"])
    print(f"{options.rows} calls of {tokens} tokens together, {forced} of them forced")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        spread = f"{min(taken):.2f} to {max(taken):.2f}"
        print(f"{name:22} {median:6.2f} s ({spread})  x {median / usual:.2f}")


if __name__ == "__main__":
    main()
