"""What fast-forwarding forced tokens and sharing the prompts' prefix save, as ratios.

Times are those of one batch of schema-constrained calls of three shopping tools.
"""

from collections.abc import Iterator
from functools import partial

from benchmarks.protocol import Benchmark, Figure, Setting, interleaved, ratio
from trimtab.agent.calling.calls import call_grammar
from trimtab.steering import Request
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


def requests(rows: int) -> list[Request]:
    """So many requests, each held to the schemas of the three tools."""
    grammar = call_grammar(TOOLS)
    return [
        Request(
            [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": f"{PURCHASES}\n\nRequest ({n}): {ASKS[n % len(ASKS)]}"},
            ],
            TOOLS,
            grammar=grammar,
        )
        for n in range(rows)
    ]


def run(setting: Setting) -> Iterator[Figure]:
    model = setting.model()
    asked = requests(setting.size(4, 2))
    ways = {
        name: partial(generate, model, asked, max_new_tokens=setting.size(128, 32), **changes)
        for name, changes in VARIANTS.items()
    }
    # A way takes up to half a minute, and what it saves is a multiple.
    times = interleaved(ways, 1)
    for name in VARIANTS:
        if name != "as it is":
            yield ratio(f"{len(asked)} calls {name} / as it is", times, name, "as it is")


BENCHMARK = Benchmark("constrained", "What forced tokens and shared prefixes save.", run)
