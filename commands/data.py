"""``trimtab data``: check a world's folder, and make one from review logs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


class BuiltIn(StrEnum):
    """The built-in worlds."""

    bazaar = "bazaar"
    gazette = "gazette"


@app.callback(invoke_without_command=True)
def data_group(context: typer.Context) -> None:
    """Check a folder in PersonalWAB's format, or make one from review logs."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("check")
def data_check(
    folder: Annotated[Path, typer.Argument(help="A folder in PersonalWAB's format.")],
) -> None:
    """Count what a folder holds and list what is wrong with it; exit code 1 if anything is."""
    from ..envs.shop.report import check_world

    report = check_world(folder)
    for line in report.lines():
        print(line)
    if not report.ok:
        raise typer.Exit(1)


@app.command("import")
def data_import(
    folder: Annotated[Path, typer.Argument(help="The folder to make, in PersonalWAB's format.")],
    reviews: Annotated[
        list[Path], typer.Option(help="JSON lines or .csv, also gzip; may be repeated.")
    ],
    products: Annotated[
        list[Path] | None, typer.Option(help="The same of products; may be repeated.")
    ] = None,
    map: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=NAME", help="Which field of the reviews is what, such as user=customer."
        ),
    ] = None,
    product_map: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=NAME", help="The same of the products.")
    ] = None,
    users: Annotated[int, typer.Option(help="How many users at most; 0 is all.")] = 1000,
    least_purchases: Annotated[int, typer.Option(help="How many purchases a user needs.")] = 5,
    train: Annotated[float, typer.Option(help="Share of purchases for training tasks.")] = 0.3,
    test: Annotated[float, typer.Option(help="Share of purchases for test tasks.")] = 0.2,
    most_tasks: Annotated[int, typer.Option(help="Tasks a user has at most in each split.")] = 24,
    all_products: Annotated[
        bool, typer.Option("--all-products", help="Also products that none of the users bought.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the choice of users and of wordings.")] = 0,
) -> None:
    """Make a world of review logs: Amazon Reviews of 2018 or 2023, or any other with a mapping."""
    from .console.importing import show_import

    show_import(
        folder,
        reviews,
        products or [],
        mapping=map or [],
        product_mapping=product_map or [],
        users=users,
        least_purchases=least_purchases,
        train=train,
        test=test,
        most_tasks=most_tasks,
        all_products=all_products,
        seed=seed,
    )


@app.command("make")
def data_make(
    world: Annotated[BuiltIn, typer.Argument(help="The shop, or the news and papers.")],
    folder: Annotated[Path, typer.Argument(help="The folder to make, in the benchmark's format.")],
    users: Annotated[int | None, typer.Option(help="Users or authors.", show_default="100")] = None,
    products: Annotated[
        int | None, typer.Option(help="Of the bazaar.", show_default="2000")
    ] = None,
    history: Annotated[
        int | None, typer.Option(help="Past samples of an author.", show_default="24")
    ] = None,
    tests: Annotated[
        int | None, typer.Option(help="Test samples of an author.", show_default="2")
    ] = None,
    seed: Annotated[int, typer.Option(help="Any number; the same gives the same files.")] = 0,
) -> None:
    """Write a built-in world: the bazaar as PersonalWAB is, the gazette as LaMP and LongLaMP."""
    from ..envs.files.making import make_world

    sizes = {"users": users, "products": products, "history": history, "tests": tests}
    print(make_world(world.value, folder, seed=seed, sizes=sizes))
