"""A user goal: who a user is and what they came for. The agent never sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ...tools.quoting import quoted

if TYPE_CHECKING:
    from ...envs.shop.records import ShoppingTask

_FEATURES = 6


@dataclass(frozen=True)
class UserGoal:
    """What a simulated user knows, as plain data that a checkpoint can hold.

    Attributes:
        type: ``search``, ``recommend`` or ``review``.
        persona: The user's profile, text by name.
        asin: Of the product that the user has in mind, or wants to review.
        title: Its title.
        category: What kind of product it is.
        price: In the shop's currency; None where it is not known.
        store: The brand.
        features: What it offers, the best first.
        rating: That the user gave it, or would give it.
        review: What the user wrote about it, or would write.
    """

    type: str
    persona: Mapping[str, str] = field(default_factory=dict)
    asin: str = ""
    title: str = ""
    category: str = ""
    price: float | None = None
    store: str = ""
    features: tuple[str, ...] = ()
    rating: float | None = None
    review: str = ""

    @classmethod
    def of(cls, task: ShoppingTask, profile: Mapping[str, Any]) -> UserGoal:
        """The goal behind a shopping task."""
        product, review = task.target.product_info, task.target.review
        category = product.details.get("Category") or product.main_category or ""
        return cls(
            type=task.type,
            persona={name: quoted(str(value), 300) for name, value in profile.items() if value},
            asin=product.parent_asin,
            title=quoted(product.title),
            category=quoted(str(category), 60),
            price=product.price,
            store=quoted(product.store or "", 60),
            features=tuple(quoted(feature) for feature in product.features[:_FEATURES]),
            rating=review.rating,
            review=quoted(review.text, 600),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "features": list(self.features)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> UserGoal:
        """What ``to_json`` made."""
        return cls(**{**plain, "features": tuple(plain.get("features", ()))})
