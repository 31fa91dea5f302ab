# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The bounds of size that ruff does not know, and the order of the packages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from pydoc import locate

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "bundle" / "scripts"
MODULES = sorted(SCRIPTS.rglob("*.py"))
CONFIGS = sorted((ROOT / "bundle" / "configs").glob("*.yaml"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bundle").rglob("*.md")])

CALLABLE_LINES, FILE_LINES, ARGUMENTS = 55, 400, 8
README_LINES, DOCUMENT_COLUMNS, CONFIGURATION_LINES = 80, 140, 220

# From below to above: a package imports those before it, never those after it.
LAYERS = (
    ["errors", "files", "tensors", "terminal", "version", "rng_state", "processes", "start_up"]
    + ["former_settings", "settings_table", "command_line", "model_spec", "model_card"]
    + [
        "networks",
        "io",
        "source_tone",
        "transforms",
        "planes",
        "data",
        "visualize",
        "losses",
        "inferers",
        "cues",
        "engines",
    ]
    + [
        "handlers",
        "tasks",
        "reports",
        "exporting",
        "inference",
        "downstream",
        "tracked_runs",
        "training_folders",
        "training_images",
        "next_steps",
        "workflow",
        "api",
        "served_model",
        "program",
        "experiments",
    ]
)

# The constructors that may have more arguments, from the one list of them: ruff's exceptions in pyproject.toml.
EXCEPTIONS = {
    (path, name)
    for path, names in re.findall(
        r'^"(bundle/scripts/\S+)" = \["PLR0913"\] # (.+)$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE
    )
    for name in names.split(", ")
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def parsed(path: Path) -> ast.Module:
    """Most tests here read every file: each is parsed once."""
    return ast.parse(path.read_text(encoding="utf-8"))


def callables(path: Path) -> Iterator[tuple[Function, str | None]]:
    """Each function of a file, with the class whose method it is."""
    tree = parsed(path)
    methods = {
        method: node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for method in ast.iter_child_nodes(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node, methods.get(node)


def length(node: Function) -> int:
    """Lines from ``def`` to the end, without the docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node, clean=False) is not None:
        docstring = node.body[0]
        lines -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return lines


def arguments(node: Function, owner: str | None) -> int:
    """Number of arguments that a caller can name or place: not ``self``."""
    given = node.args.posonlyargs + node.args.args
    is_bound = owner is not None and not any(
        isinstance(decorator, ast.Name) and decorator.id == "staticmethod" for decorator in node.decorator_list
    )
    return len(given) - int(is_bound) + len(node.args.kwonlyargs)


def imported(path: Path) -> Iterator[str]:
    """The packages and modules directly below ``scripts`` that a file imports from other ones."""
    within = path.relative_to(SCRIPTS).parent.parts
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = within[: len(within) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((*base, *name.split("."))[0] for name in names)


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_callables_are_short(path: Path) -> None:
    long = {node.name: length(node) for node, _ in callables(path) if length(node) > CALLABLE_LINES}
    assert long == {}


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_file_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= FILE_LINES


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_only_the_named_constructors_have_many_arguments(path: Path) -> None:
    many = {(owner, node.name) for node, owner in callables(path) if arguments(node, owner) > ARGUMENTS}
    assert many == {(name, "__init__") for place, name in EXCEPTIONS if place == relative(path)}


@pytest.mark.parametrize(("path", "name"), sorted(EXCEPTIONS))
def test_exception_is_of_a_file_that_exists(path: str, name: str) -> None:
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_own_modules_are_imported_by_relative_names(path: Path) -> None:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            assert not any(alias.name.split(".")[0] == "scripts" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            assert (node.module or "").split(".")[0] != "scripts"


def test_every_package_has_its_layer() -> None:
    below = {path.stem for path in SCRIPTS.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert below - {"__init__"} <= set(LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_imports_go_down_only(path: Path) -> None:
    own = path.relative_to(SCRIPTS).with_suffix("").parts[0]
    if own == "__init__":
        assert set(imported(path)) == set()
    else:
        assert {name for name in imported(path) if name != own} <= set(LAYERS[: LAYERS.index(own)])


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_lines_of_documents_fit_a_window(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [number for number, line in enumerate(lines, 1) if len(line) > DOCUMENT_COLUMNS] == []


def test_training_configuration_is_short() -> None:
    lines = (ROOT / "bundle" / "configs" / "train.yaml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= CONFIGURATION_LINES


@pytest.mark.parametrize("path", CONFIGS, ids=relative)
def test_targets_of_configurations_can_be_imported(path: Path) -> None:
    from monai.bundle import ComponentLocator

    locator = ComponentLocator()
    for target in re.findall(r"_target_: *[\"']?([\w.]+)", path.read_text(encoding="utf-8")):
        module = locator.get_component_module_name(target)
        assert isinstance(module, (str, type(None))), f"{target} is ambiguous: {module}"
        assert locate(target if module is None else f"{module}.{target}") is not None, target


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_only_io_knows_the_formats_of_files(path: Path) -> None:
    libraries = {"itk", "pydicom"}
    found = {
        name.split(".")[0]
        for node in ast.walk(parsed(path))
        if isinstance(node, (ast.Import, ast.ImportFrom)) and not getattr(node, "level", 0)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    compares_with_n4 = path.name == "classical.py"  # a filter of ITK's
    assert not found & libraries or path.relative_to(SCRIPTS).parts[0] == "io" or compares_with_n4
