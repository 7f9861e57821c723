"""Every internal name of Flower that `client/` and `cli/` use: an upgrade of Flower starts with this list.

Public are the packages in `PUBLIC`, whose names Flower documents. The list is compared with the code, and
each name with the Flower that is installed.
"""

import ast
import inspect
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest

from client.simulation.flower_seam import (
    BasicActorPool,
    WorkerPool,
    bring_messages,
    hand_over,
    vce_api,
)
from recipes import checkout

ROOT = checkout()
ROOMS = ("client", "cli")
PUBLIC = ("flwr.app", "flwr.clientapp", "flwr.serverapp", "flwr.serverapp.strategy", "flwr.simulation")
SEAM = "client/simulation/flower_seam.py"

CLIENTAPP = "flwr.supernode.runtime.run_clientapp"
EXECUTOR = "flwr.supercore.superexec.executor"
SUPEREXEC = "flwr.supercore.superexec.run_superexec"
ENGINE = "flwr.server.superlink.fleet.vce"
INTERNAL = {
    SEAM: {
        "flwr.app.message.make_message",
        "flwr.server.superlink.linkstate.in_memory_linkstate.InMemoryLinkState",
        "flwr.simulation.ray_transport.ray_actor.BasicActorPool",
        f"{ENGINE}.backend.raybackend",
        f"{ENGINE}.vce_api",
    },
    "cli/approval/approved_app.py": {
        "flwr.common.config.get_project_dir",
        "flwr.supernode.cli.flwr_clientapp.flwr_clientapp",
        CLIENTAPP,
        f"{CLIENTAPP}.install_from_fab",
        f"{CLIENTAPP}.pull_task_input",
    },
    "cli/approval/approved_executor.py": {
        "flwr.supercore.constant.TaskType",
        "flwr.supercore.constant.TaskType.CLIENT_APP",
        f"{EXECUTOR}.subprocess_executor.SubprocessExecutor",
        f"{EXECUTOR}.types.ExecutionSpec",
        f"{EXECUTOR}.types.LaunchResult",
        f"{EXECUTOR}.types.LaunchResult.accepted",
    },
    "cli/approval/bounded_messages.py": {
        CLIENTAPP,
        f"{CLIENTAPP}.install_from_fab",
        f"{CLIENTAPP}.pull_and_inflate_object_from_tree",
        f"{CLIENTAPP}.pull_task_input",
    },
    "cli/approval/clientapp.py": {
        "flwr.supercore.auth.load_superexec_auth_secret",
        SUPEREXEC,
        f"{SUPEREXEC}.get_executor",
        f"{SUPEREXEC}.run_superexec",
    },
    "cli/approval/releases.py": {"flwr.cli.build.build_fab_from_disk"},
    "cli/deploy/admission.py": {
        "flwr.client.grpc_rere_client.node_auth_client_interceptor.NodeAuthClientInterceptor",
        "flwr.proto.fleet_pb2.ActivateNodeRequest",
        "flwr.proto.fleet_pb2_grpc.FleetStub",
        "flwr.supercore.error.ApiErrorCode",
        "flwr.supercore.error.ApiErrorCode.FLEET_INVALID_HEARTBEAT_INTERVAL",
        "flwr.supercore.error.ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED",
        "flwr.supercore.error.ApiErrorCode.RUNTIME_VERSION_INCOMPATIBLE",
        "flwr.supercore.error.FlowerError",
        "flwr.supercore.error.FlowerError.from_json",
        "flwr.supercore.primitives.asymmetric.public_key_to_bytes",
        "flwr.supercore.runtime_version_compatibility.RuntimeVersionMetadata",
        "flwr.supercore.runtime_version_compatibility.RuntimeVersionMetadata.from_local_component",
    },
}


def is_internal(module: str) -> bool:
    return module.split(".")[0] == "flwr" and module not in PUBLIC


def internal_names(tree: ast.Module) -> Iterator[str]:
    """The internal names of Flower that a file imports, and those that it takes from what it imported."""
    imported = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if is_internal(one.name))
        if isinstance(node, ast.ImportFrom) and is_internal(node.module or ""):
            imported |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    yield from imported.values()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in imported:
            yield f"{imported[node.value.id]}.{node.attr}"


def private_names(tree: ast.Module) -> Iterator[str]:
    """The private attributes that a file takes from other objects than its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
            owner = node.value.id if isinstance(node.value, ast.Name) else ast.unparse(node.value)
            if owner not in ("self", "cls"):
                yield f"{owner}.{node.attr}"


def trees(*rooms: str) -> Iterator[tuple[str, ast.Module]]:
    for room in rooms:
        for file in sorted((ROOT / room).rglob("*.py")):
            yield str(file.relative_to(ROOT)), ast.parse(Path(file).read_text(encoding="utf-8"))


def test_no_internal_name_is_used_that_is_not_listed():
    found = {file: names for file, tree in trees(*ROOMS) if (names := set(internal_names(tree)))}
    assert found == INTERNAL


def test_the_client_has_them_in_one_module():
    assert [file for file in INTERNAL if file.startswith("client/")] == [SEAM]


def test_the_client_takes_no_private_attribute_of_anything():
    assert not {f"{file}: {name}" for file, tree in trees("client") for name in private_names(tree)}


def test_internal_and_private_names_are_found_wherever_they_are():
    tree = ast.parse(
        "import flwr.supercore\n"
        "def f(message):\n"
        "    from flwr.server import compat as old\n"
        "    from flwr.app import Message\n"
        "    return old.thing, message.metadata._id, self._own\n"
    )
    assert set(internal_names(tree)) == {
        "flwr.supercore",
        "flwr.server.compat",
        "flwr.server.compat.thing",
    }
    assert set(private_names(tree)) == {"message.metadata._id"}


@pytest.mark.parametrize("name", sorted(set().union(*INTERNAL.values())))
def test_an_internal_name_is_where_it_was(name):
    module, rest = longest_module(name.split("."))
    for part in rest:
        module = getattr(module, part)


def longest_module(parts: list[str]) -> tuple[object, list[str]]:
    """The innermost module of a dotted name, and the rest. (A package may export a name of its module's.)"""
    for end in range(len(parts), 0, -1):
        with suppress(ModuleNotFoundError):
            return import_module(".".join(parts[:end])), parts[end:]
    raise ModuleNotFoundError(".".join(parts))


def parameters(function) -> list[str]:
    return [one for one in inspect.signature(function).parameters if one != "self"]


@pytest.mark.parametrize(
    "method", sorted(set(vars(WorkerPool)) & set(vars(BasicActorPool)) - {"__module__", "__doc__"})
)
def test_our_pool_takes_what_flowers_pool_takes(method):
    assert parameters(getattr(WorkerPool, method)) == parameters(getattr(BasicActorPool, method))


def test_our_hand_over_takes_what_flowers_takes():
    assert len(parameters(hand_over)) == len(parameters(vce_api.add_messages_to_queue))
    assert len(parameters(bring_messages)) == len(parameters(vce_api.worker))


def test_flowers_pool_has_the_attributes_that_ours_uses(monkeypatch):
    monkeypatch.setattr("flwr.simulation.ray_transport.ray_actor.pool_size_from_resources", lambda _: 1)
    assert {"create_actor_fn", "num_actors", "pool"} <= set(vars(BasicActorPool(None, {}, {})))
