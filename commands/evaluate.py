"""``trimtab eval``: compare ways to personalize on people's own texts."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    task: Annotated[
        str | None,
        typer.Argument(
            help="headlines, abstracts, lamp-2n, lamp-2m, lamp-3, lamp-5, lamp-7, texts (your "
            "own records), shop or bfcl.",
            show_default=False,
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated, with options: zero-shot,rag(k=3,by=bm25),fints(strength=2). "
            "There are zero-shot, rag, pag, cos, stylevector, fints and two-part.",
            show_default="zero-shot,rag,fints",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="The benchmark's folder or file, or your own; default: built-in data."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A name from `trimtab models list`, a hub id, or a folder."),
    ] = None,
    users: Annotated[
        int | None, typer.Option(help="At most this many users.", show_default="200")
    ] = None,
    history: Annotated[
        int | None, typer.Option(help="Only this many of a user's latest past samples.")
    ] = None,
    tests: Annotated[
        int | None, typer.Option(help="Only this many of a user's test samples.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of users, draws and strangers.", show_default="0")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="A TOML file with a steering table, for steered methods.")
    ] = None,
    controls: Annotated[
        bool, typer.Option(help="Show the controls of every steered method beside it.")
    ] = True,
    generate: Annotated[
        bool, typer.Option(help="Let the model answer, or only score the users' own texts.")
    ] = True,
    temperature: Annotated[
        float | None, typer.Option(help="Of sampled answers.", show_default="0")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(help="Sampled answers to each sample.", show_default="1")
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="The longest answer; default: the task's own.")
    ] = None,
    context: Annotated[
        int | None, typer.Option(help="Tokens of prompt and answer; default: the model's own.")
    ] = None,
    batch: Annotated[
        int, typer.Option(help="Rows at once; with 1, seconds are each answer's own latency.")
    ] = 48,
    study: Annotated[
        Path | None, typer.Option(help="A TOML file with these fields; flags go before it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; an unfinished one is gone on with.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this folder, as it was begun.")
    ] = None,
    rescore: Annotated[
        Path | None, typer.Option(help="Only score the outputs in this folder anew.")
    ] = None,
) -> None:
    """Compare ways to personalize a model, each steered one beside its controls."""
    from .actions.evaluate import evaluate_command

    evaluate_command(
        {
            "task": task,
            "methods": methods,
            "data": data,
            "model": model,
            "users": users,
            "history": history,
            "tests": tests,
            "seed": seed,
            "settings": None if settings is None else str(settings),
            "generate": None if generate else False,
            "temperature": temperature,
            "repeats": repeats,
            "max_new_tokens": max_new_tokens,
            "context": context,
        },
        controls=controls,
        batch_size=batch,
        study=study,
        out=out,
        resume=resume,
        rescore=rescore,
    )
