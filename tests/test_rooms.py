"""The rooms import downwards, in no circle, and none is crowded."""

import ast
import graphlib
import os
import subprocess
from pathlib import Path

import pytest
from grimp import build_graph

from cli.processes import tool
from recipes import checkout

ROOT = checkout()
ROOMS = (
    *("audit", "base", "cli", "client", "murmuration_data", "optim", "privacy", "recipes"),
    *("server", "speech", "strategies", "wire"),
)
PATHS = {**os.environ, "PYTHONPATH": str(ROOT)}
MOST_MODULES = 17  # of a folder


def test_rooms_import_downwards_only():
    command = [tool("lint-imports"), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=ROOT, env=PATHS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_modules_import_one_another_in_a_circle():
    graph = build_graph(*ROOMS, exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    tuple(graphlib.TopologicalSorter(imports).static_order())  # raises CycleError, which names the circle


@pytest.mark.parametrize("room", ROOMS)
def test_no_folder_is_crowded(room):
    folders = {file.parent for file in (ROOT / room).rglob("*.py")}
    crowded = {
        str(one.relative_to(ROOT)): len(names) for one in folders if len(names := modules(one)) > MOST_MODULES
    }
    assert not crowded


@pytest.mark.parametrize("room", ["client", "wire", "optim", "privacy", "speech"])
def test_what_runs_beside_the_data_imports_nothing_of_flowers_server_side(room):
    """`client/simulation/` is part of the server's own process, and imports what it replaces."""
    found = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in (ROOT / room).rglob("*.py")
        if "simulation" not in file.parts
        for name in imported(file)
        if name.split(".")[:2] in (["flwr", "serverapp"], ["flwr", "server"], ["flwr", "superlink"])
    }
    assert not found


def imported(file: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names += [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    return names


def modules(folder: Path) -> list[str]:
    return [file.name for file in folder.glob("*.py") if file.name != "__init__.py"]


def test_only_one_module_says_what_is_on_the_disk():
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    assert {str(one.relative_to(ROOT)) for one in files if "fsync(" in one.read_text()} == {
        "base/durable_file.py"
    }


def test_every_public_module_class_and_function_has_a_docstring():
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    assert not [f"{file.relative_to(ROOT)}: {name}" for file in files for name in undocumented(file)]


def undocumented(file: Path) -> list[str]:
    module = ast.parse(file.read_text())
    classes = [node for node in module.body if isinstance(node, ast.ClassDef) and is_public(node)]
    functions = [
        node
        for owner in (module, *classes)
        for node in owner.body
        if isinstance(node, ast.FunctionDef) and is_public(node)
    ]
    return [
        getattr(node, "name", "module")
        for node in (module, *classes, *functions)
        if not ast.get_docstring(node)
    ]


def is_public(node: ast.ClassDef | ast.FunctionDef) -> bool:
    return not node.name.startswith("_")
