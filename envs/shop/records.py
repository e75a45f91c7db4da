"""What a shopping world is made of, in PersonalWAB's record format.

Strict on what an episode needs (an ASIN, a title, a review's rating, text and time, a task's words
and target), tolerant of the rest as real shop data is: a price may be null, ``"None"`` or
``"$12.99"``, a list may be a string, ``details`` may be JSON in a string. Fields that the models
do not name are kept and written back.
"""

import json
import math
import re
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ..files.ids import Id, OptionalId

TaskType = Literal["search", "recommend", "review"]
TASK_TYPES: tuple[TaskType, ...] = get_args(TaskType)
Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

_ABSENT = {"", "none", "null", "nan", "n/a", "-", "\u2014"}
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def _is_absent(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in _ABSENT)


def _number(value: Any) -> Any:
    """``"$1,299.00"`` and ``"from 12.99"`` are numbers, ``"None"`` is none; odd things too."""
    if isinstance(value, bool) or _is_absent(value):
        return None
    if isinstance(value, str):
        match = _NUMBER.search(value)
        return float(match.group().replace(",", "")) if match else None
    if isinstance(value, int | float):
        return value if math.isfinite(value) else None
    return None


def _count(value: Any) -> Any:
    number = _number(value)
    return None if number is None else int(number)


def _text(value: Any) -> Any:
    return None if _is_absent(value) or isinstance(value, list | dict) else str(value)


def _texts(value: Any) -> Any:
    if _is_absent(value):
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [item if isinstance(item, str) else str(item) for item in value if item is not None]
    return [str(value)]


def _details(value: Any) -> Any:
    if _is_absent(value):
        return {}
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = None
        return parsed if isinstance(parsed, dict) else {"details": value}
    return {"details": value}


OptionalNumber = Annotated[float | None, BeforeValidator(_number)]
OptionalCount = Annotated[int | None, BeforeValidator(_count)]
OptionalText = Annotated[str | None, BeforeValidator(_text)]
Texts = Annotated[list[str], BeforeValidator(_texts)]
Details = Annotated[dict[str, Any], BeforeValidator(_details)]


class FileRecord(BaseModel):
    """One JSON object of a world's files: unchangeable, extra fields kept."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Review(FileRecord):
    """What a user wrote about a product, and when.

    ``timestamp`` is kept as the data has it, milliseconds since 1970 in PersonalWAB; only the
    order of timestamps within one world matters.
    """

    rating: Annotated[float, Field(allow_inf_nan=False)]
    text: str
    timestamp: int


class Product(FileRecord):
    """A product of the shop; ``parent_asin`` identifies it."""

    parent_asin: Id
    title: str
    main_category: OptionalText = None
    average_rating: OptionalNumber = None
    rating_number: OptionalCount = None
    price: OptionalNumber = None
    store: OptionalText = None
    features: Texts = Field(default_factory=list)
    description: Texts = Field(default_factory=list)
    details: Details = Field(default_factory=dict)


class Purchase(FileRecord):
    """A product that a user bought, with the review that they gave it."""

    product_info: Product
    review: Review

    @property
    def asin(self) -> str:
        """The product's ``parent_asin``."""
        return self.product_info.parent_asin

    @property
    def timestamp(self) -> int:
        """When: the review's time, the only one that the format has."""
        return self.review.timestamp


class ShoppingTask(FileRecord):
    """One instruction of a user, and the purchase (with its review) that it was about.

    ``task`` is the instruction's text. ``id`` is ``<split>-<index>`` where the data has none.
    """

    user_id: Id
    task: str
    type: TaskType
    timestamp: int
    target: Purchase
    id: OptionalId = ""
