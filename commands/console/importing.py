"""An import as a person sees it: progress while it goes on, then what became of it."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ...envs.importing.importer import import_reviews
from ...envs.importing.layouts import read_mapping
from ...envs.importing.splitting import Shares
from .progress import progress


def show_import(
    folder: Path,
    reviews: Sequence[Path],
    products: Sequence[Path],
    *,
    mapping: Sequence[str],
    product_mapping: Sequence[str],
    users: int,
    least_purchases: int,
    train: float,
    test: float,
    most_tasks: int,
    all_products: bool,
    seed: int,
    console: Console | None = None,
) -> None:
    """Do what `import_reviews` does, with progress, and print its report.

    Args:
        folder: To make.
        reviews: Files of reviews.
        products: Files of products.
        mapping: ``FIELD=NAME`` of the reviews.
        product_mapping: The same of the products.
        users: How many at most.
        least_purchases: How many purchases a user needs.
        train: Share of purchases for training tasks.
        test: Share of purchases for test tasks.
        most_tasks: Tasks a user has at most in each split.
        all_products: Also products that nobody bought.
        seed: Of all that is drawn.
        console: Where to print.

    Raises:
        TrimtabError: Anything that a person can put right.
    """
    console = console or Console()
    with progress(console) as display:
        report = import_reviews(
            folder,
            reviews,
            products,
            mapping=read_mapping(mapping),
            product_mapping=read_mapping(product_mapping),
            users=users,
            least_purchases=least_purchases,
            shares=Shares(train, test),
            most_tasks=most_tasks,
            all_products=all_products,
            seed=seed,
            progress=display,
        )
    for line in report.lines():
        console.print(line, soft_wrap=True, highlight=False, markup=False)
