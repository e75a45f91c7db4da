"""What a user says, and how a product is put in a line of a prompt."""

from ...tools.quoting import quoted
from .records import Product, ShoppingTask

_TITLE_CHARACTERS = 90
_BRAND_CHARACTERS = 40


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


def request_text(task: ShoppingTask) -> str:
    """What the user says: the task's words and, for a review, which product it is about.

    As in PersonalWAB, whose review requests do not name the product and come with its record;
    here it is the line that the tools describe a product by. Nothing is added where the words
    name the product.
    """
    product = task.target.product_info
    if task.type != "review" or product.title.lower() in task.task.lower():
        return task.task
    return f"{task.task}\nThe product: {describe_product(product)}"
