"""What the README and the docs tell to type: every command is accepted, every import is there."""

import ast
import importlib
import inspect
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
import yaml

from trimtab import cli, steering

ROOT = Path(cli.__file__).parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(trimtab [^`]+)`")
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str

    @property
    def id(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*languages: str) -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for fence in FENCE.finditer(text):
            if fence[1] in languages:
                yield Block(page.name, text.count("\n", 0, fence.start()) + 1, fence[1], fence[2])


def commands() -> dict[str, list[str]]:
    """Every command of trimtab's that a page shows, by where it stands."""
    shown = {}
    for block in blocks("sh", "console"):
        for number, line in enumerate(_joined(block.text.replace("\\\n", " ").splitlines())):
            if line.startswith("trimtab "):
                shown[f"{block.id}+{number}"] = shlex.split(line, comments=True)[1:]
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        for number, inline in enumerate(INLINE.findall(text)):
            shown[f"{page.name} inline {number}: {inline}"] = shlex.split(inline)[1:]
    return {where: words for where, words in shown.items() if not _is_a_form(words)}


def _joined(lines: list[str]) -> Iterator[str]:
    """The lines, one that ends inside a quotation together with those that follow."""
    line = ""
    for part in lines:
        line = f"{line} {part}" if line else part
        if line.partition(" #")[0].count("'") % 2 == 0:
            yield line
            line = ""


def _is_a_form(words: list[str]) -> bool:
    """Whether these say how commands look, with dots or brackets where something belongs."""
    return any(word in ("...", "…") or set(word) & set("[]|") for word in words)


def accept(words: list[str]) -> None:
    """Have the command line read the words, as it does before it runs a command."""
    command, name = typer.main.get_command(cli.app), "trimtab"
    parent = None
    while True:
        context = command.make_context(name, list(words), parent=parent)
        rest = [*getattr(context, "_protected_args", []), *context.args]
        if not rest or not hasattr(command, "resolve_command"):
            return
        name, command, words = command.resolve_command(context, rest)
        parent = context


COMMANDS = commands()
UNFINISHED = ("MissingParameter", "NoArgsIsHelpError", "BadOptionUsage")


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 90


@pytest.mark.parametrize("where", COMMANDS)
def test_a_command_is_accepted(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        accept(COMMANDS[where])
    except typer.Exit as ended:  # --help and --version
        assert ended.exit_code == 0
    except typer.TyperException as error:
        # In the middle of a sentence a command may stand without its arguments.
        assert "inline" in where and type(error).__name__ in UNFINISHED, error


def test_a_wrong_flag_is_not_accepted() -> None:
    with pytest.raises(typer.TyperException, match="No such option: --fast"):
        accept(["store", "list", "users.db", "--fast"])
    with pytest.raises(typer.TyperException, match="No such command"):
        accept(["study", "sparser"])


@pytest.mark.parametrize("block", list(blocks("python")), ids=lambda block: block.id)
def test_what_python_imports_is_there(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trimtab"):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


def called(func: ast.expr, names: dict[str, object]) -> object | None:
    """What an expression such as ``SteeringDictionary.build`` names, if that is known."""
    if isinstance(func, ast.Attribute):
        owner = called(func.value, names)
        if owner is not None:
            assert hasattr(owner, func.attr), f"{owner} has no {func.attr}"
            return getattr(owner, func.attr)
        return None
    return names.get(func.id) if isinstance(func, ast.Name) else None


def test_what_python_calls_takes_such_arguments() -> None:
    """Of what comes from trimtab; a page's later blocks go by the imports of earlier ones."""
    names: dict[str, object] = {}
    page, checked = "", 0
    for block in blocks("python"):
        if block.page != page:
            page = block.page
            names = {name: getattr(steering, name) for name in steering.__all__}
        tree = ast.parse(block.text)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trimtab"):
                module = importlib.import_module(node.module or "")
                names |= {one.asname or one.name: getattr(module, one.name) for one in node.names}
        for node in ast.walk(tree):
            target = called(node.func, names) if isinstance(node, ast.Call) else None
            if not isinstance(node, ast.Call) or not callable(target):
                continue
            taken = inspect.signature(target).parameters.values()
            if not any(one.kind is one.VAR_KEYWORD for one in taken):
                given = {keyword.arg for keyword in node.keywords} - {None}
                assert given <= {one.name for one in taken}, f"{block.id}: {ast.unparse(node)}"
            checked += 1
    assert checked > 30


@pytest.mark.parametrize("block", list(blocks("toml", "json", "yaml")), ids=lambda block: block.id)
def test_files_that_are_shown_can_be_read(block: Block) -> None:
    if block.language == "json" and block.text.count("\n{"):  # an object a line
        assert all(isinstance(json.loads(line), dict) for line in block.text.splitlines())
        return
    {"toml": tomllib.loads, "json": json.loads, "yaml": yaml.safe_load}[block.language](block.text)


@pytest.mark.parametrize("block", list(blocks("sh")), ids=lambda block: block.id)
def test_programs_that_are_run_are_there(block: Block) -> None:
    for program in re.findall(r"\bpython (\S+\.py)", block.text):
        assert (ROOT / program).exists() or program.startswith("my_"), program
    for target in re.findall(r"\bmake ([a-z]+)", block.text):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, section = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if section and target.suffix == ".md":
            assert section in anchors(target), link


def anchors(page: Path) -> set[str]:
    """What a page's headings are called in links, as GitHub makes it of them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
