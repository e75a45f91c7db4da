"""The shop that an agent acts in: a world with its search, its recommender and their tools."""

import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

from ..errors import TrimtabError
from ..files import home
from ..tools.quoting import quoted
from ..tools.search import SearchIndex
from ..tools.shopping import ASIN_PATTERN, Recommends, shopping_toolkit
from ..tools.toolkit import Toolkit
from .records import Product, Purchase
from .world import World

# Part of the cached files' names: changes whenever the same world would be indexed or learned
# from in another way.
_FORM = 1
_TITLE_CHARACTERS = 90
_BRAND_CHARACTERS = 40
_LINE_CHARACTERS = 50


class _Kept(Protocol):
    def save(self, path: Path) -> None: ...


T = TypeVar("T", bound=_Kept)


def product_text(product: Product) -> str:
    """What full-text search finds a product by."""
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


def describe_product(product: Product) -> str:
    """Title, brand where the title does not name it, price and stars, in one line."""
    parts = [quoted(product.title, limit=_TITLE_CHARACTERS)]
    if product.store and product.store not in product.title:
        parts.append(f"by {quoted(product.store, limit=_BRAND_CHARACTERS)}")
    if product.price is not None:
        parts.append(f"${product.price:.2f}")
    if product.average_rating is not None:
        parts.append(f"{product.average_rating:.1f} stars")
    return ", ".join(parts)


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


class ShopEnvironment:
    """A world that can be acted in.

    The index and the recommender are made when first needed, kept in a folder under the world's
    fingerprint, and read from there the next time.

    Args:
        world: The products and users.
        folder: Where made things are kept; the default is ``shops`` in the cache folder.
        recommender: Used in place of a SASRec trained on the world's `training_sequences`.

    Example:
        >>> from trimtab.envs.bazaar import generate_bazaar
        >>> shop = ShopEnvironment(generate_bazaar(users=8, products=200))  # doctest: +SKIP
        >>> shop.toolkit.call("search_product_by_query", {"query": "wool"})  # doctest: +SKIP
    """

    def __init__(
        self, world: World, folder: Path | None = None, *, recommender: Recommends | None = None
    ) -> None:
        self.world = world
        self.folder = home() / "shops" if folder is None else folder
        self._given = recommender

    @cached_property
    def index(self) -> SearchIndex:
        """BM25 over the products' texts."""
        return self._kept("search", SearchIndex.load, lambda: SearchIndex.build(self._texts()))

    @cached_property
    def recommender(self) -> Recommends:
        """The recommender that was given, else one that has learned from the world."""
        if self._given is not None:
            return self._given
        # Imported here because it needs torch.
        from ..tools.recommender import SequentialRecommender

        def build() -> SequentialRecommender:
            sequences = training_sequences(self.world)
            return SequentialRecommender.train(sequences, texts=self._texts())

        return self._kept("recommender", SequentialRecommender.load, build)

    @cached_property
    def toolkit(self) -> Toolkit:
        """The three shopping tools."""
        asins = all(re.search(ASIN_PATTERN, asin) for asin in self.world.products)
        pattern = ASIN_PATTERN if asins else r"^\S{1,64}$"
        return shopping_toolkit(self.index, self.recommender, self.describe, id_pattern=pattern)

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

    def _texts(self) -> dict[str, str]:
        return {asin: product_text(product) for asin, product in self.world.products.items()}

    def _kept(self, kind: str, load: Callable[[Path], T], build: Callable[[], T]) -> T:
        """What is kept in the folder for this world; made and kept if it is not there."""
        path = self.folder / f"{kind}-{_FORM}-{self.world.fingerprint}.safetensors"
        if path.is_file():
            try:
                return load(path)
            except TrimtabError:
                pass  # broken, or of an older trimtab: made anew
        made = build()
        made.save(path)
        return made
