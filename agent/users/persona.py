"""The prompt that makes a language model play a user."""

from __future__ import annotations

from .conversation import Conversation

GREETING = "Hello! What can I do for you?"
MAX_TOKENS = 80
STOP = "\n"

_RULES = """Rules:
- Write one short line: what this customer says next, and nothing else.
- Stay in character. Answer what the assistant asks; do not ask back.
- Use your own words. Never name the product's title, its id or its exact details.
- Say only what follows from what you know. Where you do not know, say so.
- If what the assistant found does not fit, say what is missing. If it fits, say thank you."""


def user_messages(conversation: Conversation) -> list[dict[str, str]]:
    """The chat messages to which the model's answer is what the user says next."""
    return [
        {"role": "system", "content": _system(conversation)},
        *conversation.messages(GREETING),
    ]


def spoken(text: str) -> str:
    """What the model wrote, as one line of speech: without quotes around it or a name before it."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    for name in ("User:", "Customer:", "Me:"):
        line = line.removeprefix(name).strip()
    if len(line) > 1 and line[0] == line[-1] and line[0] in "\"'":
        line = line[1:-1].strip()
    return line or "..."


def _system(conversation: Conversation) -> str:
    parts = ["You play a customer who talks to the assistant of an online shop."]
    user_goal = conversation.user_goal
    if user_goal is not None:
        persona = [f"- {name}: {value}" for name, value in user_goal.persona.items()]
        if persona:
            parts.append("\n".join(["Who you are:", *persona]))
        product = [
            f"- Kind of product: {user_goal.category}",
            f"- Title: {user_goal.title}",
            f"- Brand: {user_goal.store}",
            f"- Price: {'' if user_goal.price is None else format(user_goal.price, '.2f')}",
            *(f"- {feature}" for feature in user_goal.features),
        ]
        known = [line for line in product if not line.endswith(": ")]
        if user_goal.type == "review":
            parts.append("\n".join(["You bought this and want a review of it posted:", *known]))
            parts.append(
                f"What you think of it ({user_goal.rating:g} of 5 stars): {user_goal.review}"
                if user_goal.rating is not None
                else f"What you think of it: {user_goal.review}"
            )
        else:
            aim = {
                "search": "You want the assistant to search the shop. What you have in mind:",
                "recommend": (
                    "You want the assistant to recommend something, going by what you bought "
                    "before. What you would be glad of:"
                ),
            }.get(user_goal.type, "What you have in mind:")
            parts.append("\n".join([aim, *known]))
    return "\n\n".join([*parts, _RULES])
