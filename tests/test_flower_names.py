"""The names of Flower that no release promises to keep: the server's side uses these and no others.

A new one belongs in `strategies/flower_seam.py` or `wire/inflation/flower_objects.py`, and in this list. The
list shows what a port to another release of Flower must look at.
"""

import ast
from collections.abc import Iterator

import pytest

from recipes import checkout

ROOT = checkout()
ROOMS = ("server", "strategies", "wire")
PUBLIC = {"flwr.app", "flwr.clientapp", "flwr.common", "flwr.serverapp", "flwr.serverapp.strategy"}
ALLOWED = {
    "strategies/flower_seam.py": {
        "flwr.app.message.make_message",
        "flwr.proto.message_pb2.ConfirmMessageReceivedRequest",
        "flwr.proto.message_pb2.PullObjectRequest",
        "flwr.proto.runtime_pb2.PullAppMessagesRequest",
        "flwr.supercore.inflatable.inflatable_utils.ObjectPushError",
        "flwr.supercore.task_identity.TaskIdentity",
        "flwr.superlink.grid.HttpGrid",
        "flwr.superlink.grid.InMemoryGrid",
        ".__dict__",  # of a message's metadata: its id, `_message_id`
        "'_message_id'",
        "._client",  # of the Runtime API's client: its HTTP client
        "._runtime_client",  # of HttpGrid
    },
    "wire/inflation/flower_objects.py": {
        "flwr.supercore.inflatable.inflatable_object.get_object_children_ids_from_object_content",
        "flwr.supercore.inflatable.inflatable_utils.inflate_object_from_contents",
        "flwr.supercore.inflatable.inflatable_utils.pull_objects",
    },
}


def imported(tree: ast.Module) -> Iterator[str]:
    """Names from modules of Flower that are not public."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if is_flowers(one.name) and one.name not in PUBLIC)
        elif isinstance(node, ast.ImportFrom) and is_flowers(node.module or ""):
            names = (one.name for one in node.names)
            yield from (f"{node.module}.{n}" for n in names if node.module not in PUBLIC or n.startswith("_"))


def is_flowers(module: str) -> bool:
    return module.split(".")[0] == "flwr"


def reached_into(tree: ast.Module) -> Iterator[str]:
    """Private attributes, and names of them as keys, that the module itself does not define."""
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and isinstance(target := node.target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not on_itself(node):
            if node.attr not in own and node.attr not in ("__init__", "__name__"):
                yield f".{node.attr}"
        elif (key := key_of(node)).startswith("_"):
            yield repr(key)


def key_of(node: ast.AST) -> str:
    """The text in `x["text"]` and `getattr(x, "text")`; empty for anything else."""
    found = None
    if isinstance(node, ast.Subscript):
        found = node.slice
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "setattr"):
        found = node.args[1]
    return found.value if isinstance(found, ast.Constant) and isinstance(found.value, str) else ""


def on_itself(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def names_in(source: str) -> set[str]:
    tree = ast.parse(source)
    return {*imported(tree), *reached_into(tree)}


def test_only_the_seams_use_names_that_a_release_may_move():
    files = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
    used = {str(file.relative_to(ROOT)): names_in(file.read_text(encoding="utf-8")) for file in files}
    assert {file: names for file, names in used.items() if names} == ALLOWED


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import flwr.server.superlink", "flwr.server.superlink"),
        ("from flwr.app.message import make_message", "flwr.app.message.make_message"),
        ("from flwr.app import _hidden", "flwr.app._hidden"),
        ("def f(grid): return grid._client", "._client"),
        ("class A:\n    def f(self): return self._grid._client", "._client"),
        ("getattr(grid, '_client')", "'_client'"),
        ("message.metadata.__dict__['_message_id'] = 1", "'_message_id'"),
    ],
)
def test_such_a_name_is_found(source, name):
    assert name in names_in(source)


def test_public_names_and_our_own_private_ones_are_not_found():
    source = "from flwr.app import Message\nclass A:\n    _b: int\n    def c(self, a): return a._b + self._d"
    assert names_in(source) == set()
