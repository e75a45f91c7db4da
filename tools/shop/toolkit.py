"""The tools of PersonalWAB: search, recommend, review, and two to talk with the user."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, Protocol

from ..quoting import quoted
from ..spec import ToolSpec
from ..toolkit import Toolkit, ToolResult

TaskType = Literal["search", "recommend", "review"]

SEARCH = "search_product_by_query"
RECOMMEND = "get_recommendations_by_history"
REVIEW = "add_product_review"

RESPOND = "respond"
STOP = "stop"

ACTION_TOOLS: Mapping[TaskType, str] = MappingProxyType(
    {"search": SEARCH, "recommend": RECOMMEND, "review": REVIEW}
)
"""The tool that is right for a task of each type."""

ASIN_PATTERN = "^[A-Z0-9]{10}$"


class Searches(Protocol):
    """What finds products by words, such as a `SearchIndex`."""

    def search(self, query: str, k: int = 10) -> list[str]:
        """The ids of at most ``k`` products that fit the query, best first."""
        ...


class Recommends(Protocol):
    """What recommends products to buy next, such as a `SequentialRecommender`."""

    def recommend(self, sequence: list[str], k: int = 10) -> list[str]:
        """The ids of at most ``k`` products to buy after those of the sequence, best first."""
        ...


def shopping_toolkit(
    index: Searches,
    recommender: Recommends,
    describe: Callable[[str], str],
    *,
    results: int = 10,
    id_pattern: str = ASIN_PATTERN,
) -> Toolkit:
    """The tools that a shopping agent has.

    The value of a search or a recommendation is the list of product ids, best first; that of a
    review is its text. The content is a numbered list of what ``describe`` says of each product,
    quoted, so that a seller's words stay data.

    Args:
        index: Finds products.
        recommender: Recommends them.
        describe: Title and price, say, of the product with this id.
        results: How many products a search or a recommendation gives.
        id_pattern: Regular expression of a product id.
    """

    def listed(heading: str, ids: list[str]) -> ToolResult:
        lines = [
            f"{rank}. {id} | {quoted(describe(id), limit=160)}" for rank, id in enumerate(ids, 1)
        ]
        return ToolResult(content="\n".join([heading, *lines]), value=ids)

    def search(query: str) -> ToolResult:
        ids = index.search(query, k=results)
        if not ids:
            return ToolResult(content="No product fits these words. Try other ones.", value=[])
        return listed(f"Products that fit {quoted(query, limit=80)!r}, best first:", ids)

    def recommend(product_sequence: list[str]) -> ToolResult:
        ids = recommender.recommend(product_sequence, k=results)
        if not ids:
            return ToolResult(content="None of these products is known. Try other ones.", value=[])
        return listed("Products to buy next, best first:", ids)

    def review(review: str) -> ToolResult:
        return ToolResult(content=f"The review was added: {quoted(review)}", value=review)

    return Toolkit(
        [
            ToolSpec(
                name=SEARCH,
                description=(
                    "Search the shop for products by words. Use it when the user asks for a "
                    "product with certain properties, to find it by its description."
                ),
                parameters={
                    "type": "object",
                    "properties": {
                        "query": {
                            "type": "string",
                            "description": (
                                "What to look for: kind of product, brand, features, such as "
                                "'waterproof hiking boots'."
                            ),
                            "minLength": 1,
                            "maxLength": 200,
                        }
                    },
                    "required": ["query"],
                    "additionalProperties": False,
                },
                function=search,
            ),
            ToolSpec(
                name=RECOMMEND,
                description=(
                    "Recommend products that the user may want to buy next, given products that "
                    "the user bought before. Use it when the user asks for a recommendation or "
                    "a suggestion that suits them."
                ),
                parameters={
                    "type": "object",
                    "properties": {
                        "product_sequence": {
                            "type": "array",
                            "description": (
                                "The ASINs of products that the user bought, oldest first, the "
                                "most recent one last; at most 30."
                            ),
                            "items": {"type": "string", "pattern": id_pattern},
                            "minItems": 1,
                            "maxItems": 30,
                        }
                    },
                    "required": ["product_sequence"],
                    "additionalProperties": False,
                },
                function=recommend,
            ),
            ToolSpec(
                name=REVIEW,
                description=(
                    "Post a review of a product that the user bought. Use it when the user asks "
                    "to write a review or to share what they think of a product."
                ),
                parameters={
                    "type": "object",
                    "properties": {
                        "review": {
                            "type": "string",
                            "description": "The text of the review, in the user's own voice.",
                            "minLength": 1,
                            "maxLength": 600,
                        }
                    },
                    "required": ["review"],
                    "additionalProperties": False,
                },
                function=review,
            ),
        ]
    )


def conversation_tools() -> tuple[ToolSpec, ToolSpec]:
    """``respond(content)`` and ``stop()``, which the multi-turn track has besides.

    ``respond`` does no more than check what is to be said: who speaks to the user, and brings the
    answer, is the agent's loop.
    """

    def respond(content: str) -> ToolResult:
        return ToolResult(content="Said to the user.", value=content)

    def stop() -> ToolResult:
        return ToolResult(content="The conversation is over.")

    return (
        ToolSpec(
            name=RESPOND,
            description=(
                "Say something to the user: ask what is not clear, or tell what was found. The "
                "user's answer is the next message."
            ),
            parameters={
                "type": "object",
                "properties": {
                    "content": {
                        "type": "string",
                        "description": "What to say, in one or two sentences.",
                        "minLength": 1,
                        "maxLength": 400,
                    }
                },
                "required": ["content"],
                "additionalProperties": False,
            },
            function=respond,
        ),
        ToolSpec(
            name=STOP,
            description=(
                "End the conversation. Use it as soon as what the user asked for is done."
            ),
            parameters={"type": "object", "properties": {}, "additionalProperties": False},
            function=stop,
        ),
    )
