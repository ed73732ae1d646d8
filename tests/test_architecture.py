"""The rules of the house, read from the source: who may import whom, and how long things may be."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import workbench
from workbench import method, notebooks

ROOT = Path(workbench.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
LINES, BODY = 400, 45


def name_of(path: Path) -> str:
    """`data.io.dicom` for workbench/data/io/dicom.py, `data` for workbench/data/__init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}


def within(package: str) -> list[Path]:
    return [path for path in MODULES if name_of(path) == package or name_of(path).startswith(f"{package}.")]


def runtime(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those that only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            continue
        yield node
        yield from runtime(node)


def targets(node: ast.AST, package: list[str]) -> Iterator[str]:
    """The dotted names that one statement may import; of `from a import b` both a and a.b."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else []
        source = ".".join([*base, *([node.module] if node.module else [])])
        yield from (source, *(f"{source}.{alias.name}" for alias in node.names))


def imports(path: Path) -> set[str]:
    """What a module imports, anywhere in it: modules of the package as `workbench.x.y`, others by their first name."""
    package = ["workbench", *path.parent.relative_to(ROOT).parts]
    found = {name for node in runtime(ast.parse(path.read_text())) for name in targets(node, package)}
    own = {name for name in found if name.removeprefix("workbench.") in NAMES or name == "workbench"}
    foreign = {name.partition(".")[0] for name in found} - {"workbench"}
    parents = {name for name in own if any(other.startswith(f"{name}.") for other in own)}
    return (own - parents) | foreign


def of_package(path: Path) -> set[str]:
    return {name.removeprefix("workbench.") for name in imports(path) if name.startswith("workbench.")}


def test_the_reader_of_imports_sees_what_there_is():
    found = imports(ROOT / "methods" / "smcgan.py")
    assert {
        "workbench.method",
        "workbench.metrics",
        "workbench.compare",
        "workbench.losses.adversarial",
        "torch",
    } <= found
    assert "workbench.runs" not in imports(ROOT / "compare.py"), "only for a type checker"
    assert "pandas" in imports(ROOT / "runs.py"), "inside of functions too"
    assert {"fit", "runs"} <= of_package(ROOT / "study.py")


# ---------------------------------------------------------------- who may import whom

PARTS = ("config", "errors", "method", "metrics", "compare", "models", "losses")


@pytest.mark.parametrize("path", within("methods") + within("baselines"), ids=name_of)
def test_methods_know_only_the_parts_that_they_are_made_of(path):
    assert not [name for name in of_package(path) if not name.startswith(PARTS)]


@pytest.mark.parametrize(
    "path", [p for part in ("models", "losses", "metrics", "data") for p in within(part)], ids=name_of
)
def test_parts_know_no_method_and_no_loop(path):
    allowed = ("config", "errors", "models", "losses", "metrics", *(["data"] if path in within("data") else []))
    assert not [name for name in of_package(path) if not name.startswith(allowed)]


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("errors", set()), ("config", {"errors"}), ("runs", {"errors"}), ("compare", {"errors"}), ("provenance", set()),
        ("method", {"config", "errors"}), ("fit", {"best", "method", "config", "device", "errors", "progress", "runs"}),
        ("device", {"errors"}), ("progress", {"method"}),
        ("evaluate", {"data", "fit", "method"}),
    ],
)  # fmt: skip
def test_the_core_knows_only_what_is_below_it(name, allowed):
    for path in within(name):
        siblings = {other for other in of_package(path) if other.startswith(f"{name}.")}
        assert of_package(path) - siblings <= allowed


@pytest.mark.parametrize("path", within("views") + within("dashboard"), ids=name_of)
def test_what_is_looked_at_is_read_from_files(path):
    assert "torch" not in imports(path)
    allowed = ("views", "compare", "runs", "errors", *(["dashboard"] if path in within("dashboard") else []))
    assert not [name for name in of_package(path) if not name.startswith(allowed)]


def test_views_and_dashboard_run_without_what_trains():
    code = """
import importlib, pkgutil, sys
for name in ("workbench.views", "workbench.dashboard"):
    for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
        importlib.import_module(module.name)
heavy = ("torch", "kornia", "monai", *("workbench." + name for name in ("method", "fit", "study", "methods", "data")))
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_only_the_top_knows_the_study():
    users = {name_of(path) for path in MODULES if "study" in of_package(path)}
    assert users <= {"__main__", "claims", "monitor"}


def test_nothing_imports_itself_in_a_circle():
    edges = {name_of(path): of_package(path) for path in MODULES}

    def reaches(start: str, name: str, seen: set[str]) -> bool:
        following = edges.get(name, set()) - seen
        return start in following or any(reaches(start, one, seen | following) for one in following)

    lazily = {"claims", "study"}  # claims imports study only when it trains
    assert not [name for name in edges if name not in lazily and reaches(name, name, set())]


# ---------------------------------------------------------------- how things are written


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_is_too_long(path):
    assert len(path.read_text().splitlines()) <= LINES


def body_lines(function: ast.FunctionDef) -> int:
    """The lines of a function below its signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None and len(function.body) > 1 else function.body
    return body[-1].end_lineno - body[0].lineno + 1


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_function_is_too_long(path):
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, functions)]
    assert not {node.name: body_lines(node) for node in found if body_lines(node) > BODY}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_errors_are_named_and_input_is_not_asserted(path):
    tree = ast.parse(path.read_text())
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.type is None]
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]


@pytest.mark.parametrize("path", [path for path in MODULES if path.read_text().strip()], ids=name_of)
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


# ---------------------------------------------------------------- discovery


@pytest.mark.parametrize("name", [name for name, package in sorted(method.names().items()) if package == "methods"])
def test_every_method_has_its_notebook(name):
    assert notebooks.find(name).name[2:] == f"_{name}.ipynb"


EVERYDAY = {"acquired", "identity", "unit"}  # also how volumes are cut (`organs`), a term of a loss, and mm or pixels


def test_methods_and_baselines_are_found_and_not_registered():
    files = {path.stem for package in ("methods", "baselines") for path in (ROOT / package).glob("[!_]*.py")}
    assert set(method.names()) == files
    for path in MODULES:
        if path.parent.name not in ("methods", "baselines"):
            words = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
            assert not {word for word in words & (files - EVERYDAY) if isinstance(word, str)}, path
