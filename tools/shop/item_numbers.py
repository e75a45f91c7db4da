"""The numbers by which a recommender's network knows items."""

from collections.abc import Mapping

from ...errors import TrimtabError


def check_numbers(numbers: Mapping[str, int], items: int) -> None:
    """See that every number, from 1, is one of the network's items.

    Raises:
        TrimtabError: One is not, or there are none.
    """
    odd = next((id for id, number in numbers.items() if not 1 <= number <= items), None)
    if odd is not None or not numbers:
        raise TrimtabError(
            f"expected item numbers from 1 to {items}, as the network has; "
            + (f"got {numbers[odd]} for {odd!r}" if odd is not None else "got no items")
        )
