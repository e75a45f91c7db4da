"""The shop that an agent acts in: a world with its search, its recommender and their tools."""

import json
import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ...errors import TrimtabError
from ...files import home
from ...tools.quoting import quoted
from ...tools.shop.pretrained import PretrainedRecommender, PublishedFiles, find_published
from ...tools.shop.search import SearchIndex
from ...tools.shop.toolkit import ASIN_PATTERN, Recommends, shopping_toolkit
from ...tools.toolkit import Toolkit
from .personalwab import load_world
from .records import Product, Purchase
from .request import describe_product
from .world import World

# Part of the cached files' names: changes whenever the same world would be indexed, or learned
# from, in another way.
_SEARCH_FORM = 2
_RECOMMENDER_FORM = 1
_LINE_CHARACTERS = 50


class _Kept(Protocol):
    def save(self, path: Path) -> None: ...


T = TypeVar("T", bound=_Kept)


def indexed_text(product: Product) -> str:
    """What full-text search finds a product by: all that its record says, as the benchmark has it.

    PersonalWAB publishes a built index but not what built it; the search results that it shows
    hold the product's ASIN, and its other product listings have these fields in this form. The
    labels are in every product, so they weigh nothing.
    """
    return "\n".join(
        [
            f"- Title: {product.title}",
            f"- Parent Asin: {product.parent_asin}",
            f"- Average Rating: {product.average_rating}",
            f"- Rating Number: {product.rating_number}",
            f"- Price: {product.price}",
            f"- Store: {product.store}",
            f"- Features: {product.features}",
            f"- Description: {product.description}",
            f"- Details: {json.dumps(product.details)}",
            f"- Category: {product.main_category}",
        ]
    )


def product_text(product: Product) -> str:
    """What a product is, in its seller's words: what a recommender may know of unbought ones."""
    details = (f"{key} {value}" for key, value in product.details.items())
    parts = [
        product.title,
        product.store or "",
        product.main_category or "",
        *product.features,
        *product.description,
        *details,
    ]
    return "\n".join(part for part in parts if part)


def training_sequences(world: World) -> list[list[str]]:
    """What a recommender may learn from: each user's ASINs up to the user's first test task.

    A user without test tasks gives the whole history. Sequences are oldest first, in the order
    of ``world.users``; empty ones are left out.
    """
    first_test: dict[str, int] = {}
    for task in world.test:
        earliest = first_test.get(task.user_id, task.timestamp)
        first_test[task.user_id] = min(earliest, task.timestamp)
    sequences = []
    for user in world.users:
        if user in first_test:
            purchases = world.history(user, before=first_test[user])
        else:
            purchases = list(world.histories.get(user, ()))
        if purchases:
            sequences.append([purchase.asin for purchase in purchases])
    return sequences


def load_shop(folder: Path | str, kept_in: Path | None = None) -> "ShopEnvironment":
    """The shop of a folder in PersonalWAB's format, with the recommender that came with it if any.

    Args:
        folder: The world's files.
        kept_in: Where made things are kept; the default is ``shops`` in the cache folder.

    Raises:
        TrimtabError: A file is missing or broken; one line that names file, record and field.
    """
    published = find_published(Path(folder))
    return ShopEnvironment(load_world(folder), kept_in, published=published)


def shop_schemas(world: World) -> list[dict[str, Any]]:
    """What a model is told of the three shopping tools."""
    return ShopEnvironment(world).toolkit.schemas()


def _id_pattern(world: World) -> str:
    asins = all(re.search(ASIN_PATTERN, asin) for asin in world.products)
    return ASIN_PATTERN if asins else r"^\S{1,64}$"


class _WhenAsked:
    """An index or a recommender that is made when it is first asked."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def search(self, query: str, k: int = 10) -> list[str]:
        found: list[str] = self._make().search(query, k=k)
        return found

    def recommend(self, sequence: list[str], k: int = 10) -> list[str]:
        found: list[str] = self._make().recommend(sequence, k=k)
        return found


class ShopEnvironment:
    """A world that can be acted in.

    The index and the recommender are made when first needed, kept in a folder under the world's
    fingerprint, and read from there the next time.

    Args:
        world: The products and users.
        folder: Where made things are kept; the default is ``shops`` in the cache folder.
        recommender: Used in place of a SASRec trained on the world's `training_sequences`.
        published: The files of a published recommender, likewise.

    Example:
        >>> from trimtab.envs.worlds.bazaar import generate_bazaar
        >>> shop = ShopEnvironment(generate_bazaar(users=8, products=200))  # doctest: +SKIP
        >>> shop.toolkit.call("search_product_by_query", {"query": "wool"})  # doctest: +SKIP
    """

    def __init__(
        self,
        world: World,
        folder: Path | None = None,
        *,
        recommender: Recommends | None = None,
        published: PublishedFiles | None = None,
    ) -> None:
        self.world = world
        self.folder = home() / "shops" if folder is None else folder
        self._given = recommender
        self._published = published

    @cached_property
    def index(self) -> SearchIndex:
        """BM25 over the products' texts."""

        def build() -> SearchIndex:
            products = self.world.products.items()
            return SearchIndex.build({asin: indexed_text(product) for asin, product in products})

        return self._kept(f"search-{_SEARCH_FORM}", SearchIndex.load, build)

    @cached_property
    def recommender(self) -> Recommends:
        """The recommender that was given or published, else one that has learned from the world."""
        if self._given is not None:
            return self._given
        if self._published is not None:
            return PretrainedRecommender.load(self._published)
        # Imported here because it needs torch.
        from ...tools.shop.recommender import SequentialRecommender

        def build() -> SequentialRecommender:
            products = self.world.products.items()
            texts = {asin: product_text(product) for asin, product in products}
            return SequentialRecommender.train(training_sequences(self.world), texts=texts)

        return self._kept(f"recommender-{_RECOMMENDER_FORM}", SequentialRecommender.load, build)

    @cached_property
    def toolkit(self) -> Toolkit:
        """The three shopping tools; what they ask is made when one of them is first called."""
        return shopping_toolkit(
            _WhenAsked(lambda: self.index),
            _WhenAsked(lambda: self.recommender),
            self.describe,
            id_pattern=_id_pattern(self.world),
        )

    def ready(self) -> None:
        """Make now what the tools ask: index the products, and train a recommender."""
        self.index  # noqa: B018
        self.recommender  # noqa: B018

    def describe(self, asin: str) -> str:
        """Title, brand, price and stars of a product; the ASIN alone if it is not known."""
        product = self.world.products.get(asin)
        return asin if product is None else describe_product(product)

    def recent_purchases(self, user_id: str, before: int, n: int = 5) -> list[Purchase]:
        """The user's last ``n`` purchases that strictly precede ``before``, oldest first."""
        purchases = self.world.history(user_id, before)
        return purchases[max(len(purchases) - n, 0) :]

    def purchase_lines(self, user_id: str, before: int, n: int = 5) -> list[str]:
        """The same for a prompt: one short line each, the ASIN and the start of the title."""
        return [
            f"{purchase.asin}: {quoted(purchase.product_info.title, limit=_LINE_CHARACTERS)}"
            for purchase in self.recent_purchases(user_id, before, n)
        ]

    def _kept(self, name: str, load: Callable[[Path], T], build: Callable[[], T]) -> T:
        """What is kept in the folder for this world; made and kept if it is not there."""
        path = self.folder / f"{name}-{self.world.fingerprint}.safetensors"
        if path.is_file():
            try:
                return load(path)
            except TrimtabError:
                pass  # broken, or of an older trimtab: made anew
        made = build()
        made.save(path)
        return made
