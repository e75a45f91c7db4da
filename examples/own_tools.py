"""An agent that calls your own functions.

python examples/own_tools.py [MODEL]
"""

import sys

from trimtab.agent import build_agent
from trimtab.steering import SteeredModel
from trimtab.tools import Toolkit

STOCK = {"mug": 3, "lamp": 0}


def in_stock(product: str) -> str:
    """Tell how many of a product are in stock.

    Args:
        product: Its name, in the singular.
    """
    return f"{STOCK.get(product, 0)} of {product} in stock"


def main(name: str = "qwen2.5-coder-0.5b-instruct") -> str:
    """Ask one question, and print each step and the answer."""
    model = SteeredModel.from_pretrained(name)
    agent = build_agent(
        model,
        Toolkit([in_stock]),
        system="You answer for a small shop.",
        step_limit=3,
        max_new_tokens=48,
    )
    end = agent.invoke({"messages": [("user", "How many mugs are in stock?")]})
    for message in end["messages"]:
        message.pretty_print()
    return str(end["outcome"])


if __name__ == "__main__":
    main(*sys.argv[1:])
