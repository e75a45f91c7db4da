"""What holds for the package as a whole: what is in the wheel, who imports whom, what is lazy."""

import ast
import functools
import importlib
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import trimtab

ROOT = Path(trimtab.__file__).parent
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
BESIDE = ("errors", "files", "words")
"""Modules of the root that every package may import."""
MAY_IMPORT = {
    "steering": (),
    "tools": (),
    "envs": ("tools",),
    "agent": ("steering", "tools", "envs"),
    "eval": ("steering", "tools", "envs", "agent"),
    "serve": ("steering", "tools", "envs", "agent", "eval"),
    "commands": ("steering", "tools", "envs", "agent", "eval", "serve"),
}


def package_files() -> list[Path]:
    """The package's own files: those of the root, and all below its packages."""
    folders = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py*")]
    return [p for p in (*ROOT.glob("*.py*"), *folders) if p.suffix in (".py", ".pyi")]


def module_of(path: Path) -> str:
    """The dotted name inside the package; the root itself is the empty name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in package_files() if path.suffix == ".py"}
LAZY = [f"trimtab.{module_of(p)}".rstrip(".") for p in package_files() if p.name == "__init__.pyi"]


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@dataclass(frozen=True)
class Import:
    module: str
    name: str
    line: int
    on_load: bool
    """Not in a function, and not for the type checker alone."""


@functools.cache
def imports_of(module: str, path: Path) -> tuple[Import, ...]:
    """Every relative import of a file, wherever it stands, with names seen through the stubs."""
    tree, found = tree_of(path), []
    later = set()
    for node in ast.walk(tree):
        types = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        if types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            later.update(ast.walk(node))
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        up = node.level - (path.stem == "__init__")
        parts = module.split(".") if module else []
        base = parts[: len(parts) - up]
        target = ".".join([*base, *(node.module.split(".") if node.module else [])])
        for alias in node.names:
            place = defined_in(target, alias.name)
            found.append(Import(*place, node.lineno, node not in later))
    return tuple(found)


def defined_in(module: str, name: str) -> tuple[str, str]:
    """The module that an imported name comes from."""
    if f"{module}.{name}".lstrip(".") in MODULES:
        return f"{module}.{name}".lstrip("."), ""
    stub = (ROOT / module.replace(".", "/") / "__init__.pyi") if module else ROOT / "__init__.pyi"
    if stub.exists():
        for found in imports_of(module, stub):
            if found.name == name:
                return found.module, name
    return module, name


def test_packages_import_only_what_they_may() -> None:
    faults = []
    for module, path in MODULES.items():
        package = module.partition(".")[0]
        if package not in PACKAGES:
            continue  # a module of the root
        allowed = {package, *MAY_IMPORT[package], *BESIDE}
        for found in imports_of(module, path):
            if found.module.partition(".")[0] not in allowed:
                faults.append(f"{path}:{found.line} imports {found.module or 'trimtab'}")
    assert not faults


def test_nothing_imports_the_command_line_or_itself_by_name() -> None:
    faults = []
    for module, path in MODULES.items():
        faults += [f"{path}:{i.line}" for i in imports_of(module, path) if i.module == "cli"]
        for node in ast.walk(tree_of(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            faults += [f"{path}:{node.lineno}" for n in names if n.partition(".")[0] == "trimtab"]
    assert not faults


def test_what_knows_a_terminal_stays_in_the_commands() -> None:
    faults = []
    for module, path in MODULES.items():
        if module.partition(".")[0] in ("commands", "cli", "serve"):
            continue
        for node in ast.walk(tree_of(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            told = [n for n in names if n.partition(".")[0] in ("rich", "typer")]
            faults += [f"{path}:{node.lineno} imports {name}" for name in told]
    assert not faults


def test_modules_import_in_one_direction() -> None:
    """No circle at import, inside functions or for the type checker."""
    graph = {
        module: {found.module for found in imports_of(module, path)} - {module}
        for module, path in MODULES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other: {' -> '.join(error.args[1])}")


_SHIPPED = {".css", ".html", ".jinja", ".js", ".svg"}


def test_one_class_name_means_one_class() -> None:
    """Private or not: `Batch` and `_Batch` are told apart by nobody."""
    places: dict[str, list[str]] = {}
    for path in MODULES.values():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name.lstrip("_"), []).append(f"{path}:{node.lineno}")
    assert not {name: where for name, where in places.items() if len(where) > 1}


def test_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    ignored = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, tree, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(tree)], check=True)
    (wheel,) = tmp_path.glob("trimtab-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {n for n in archive.namelist() if ".dist-info/" not in n}
        (licence,) = [n for n in archive.namelist() if n.endswith("licenses/LICENSE")]
        assert b"Apache License" in archive.read(licence)
    beside = [*(ROOT / "eval/runs/report").glob("report.*"), *(ROOT / "serve/page").iterdir()]
    files = [*package_files(), *(path for path in beside if path.suffix in _SHIPPED)]
    expected = {f"trimtab/{path.relative_to(ROOT).as_posix()}" for path in files}
    assert held == expected | {"trimtab/py.typed"}


def newly_imported(*modules: str) -> set[str]:
    """The top-level packages that a fresh interpreter holds after importing some modules."""
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_trimtab_imports_little() -> None:
    heavy = {
        "torch",
        "transformers",
        "langgraph",
        "langchain_core",
        "numpy",
        "pydantic",
        "sqlalchemy",
    }
    assert not heavy & newly_imported(*LAZY)
    assert not heavy & newly_imported("trimtab.cli", "trimtab.steering.weights.known")


def test_tools_and_worlds_do_without_torch() -> None:
    modules = [
        f"trimtab.{name}"
        for name in MODULES
        if name.partition(".")[0] in ("tools", "envs")
        and name not in ("tools.shop.recommender", "tools.shop.sasrec")
    ]
    assert not {"torch", "transformers"} & newly_imported(*modules)


@pytest.mark.parametrize("package", LAZY)
def test_public_names_resolve(package: str) -> None:
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_names_that_are_gone_say_what_to_use() -> None:
    from trimtab import eval as package

    for name, instead in package._INSTEAD.items():
        with pytest.raises(ImportError, match="is gone: use ") as told:
            getattr(package, name)
        assert name in str(told.value)
        first = instead.removeprefix("trimtab.eval.").partition("(")[0].partition(",")[0]
        assert getattr(package, first) is not None
    with pytest.raises(AttributeError):
        getattr(package, "nothing_of_the_kind")  # noqa: B009
