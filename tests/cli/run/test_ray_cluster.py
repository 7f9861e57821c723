"""What is asked of a Ray cluster before a run; runs on one are in tests/test_ray_cluster.py."""

import socket
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.processes import free_port
from cli.run import ray_cluster
from cli.run.ray_cluster import ClusterError, require_packages, require_room, usable_cluster


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "10.0.0.1", "head:port"])
def test_an_address_that_is_none_is_refused_with_what_it_should_be(address):
    with pytest.raises(ClusterError, match="give HOST:PORT of the cluster's head, or 'auto'"):
        usable_cluster(address, cpus=1, gpus=0)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "this machine is no node of a Ray cluster.*HOST:PORT alone"),
        ("127.0.0.1:1", "127.0.0.1:1: no Ray head answers"),
    ],
)
def test_auto_is_the_cluster_of_this_machine_if_it_lives(found, said, monkeypatch):
    monkeypatch.setattr("ray._private.services.find_bootstrap_address", lambda _: found)
    with pytest.raises(ClusterError, match=said):
        usable_cluster("auto", cpus=1, gpus=0)


@pytest.mark.parametrize("variable", [False, True])
def test_a_run_on_no_cluster_ends_before_anything_starts(variable):
    address = f"127.0.0.1:{free_port()}"
    arguments, environment = (["run"], {"RAY_ADDRESS": address}) if variable else (
        ["run", "--ray-address", address], {})  # fmt: skip
    done = CliRunner().invoke(app, arguments, env=environment)
    assert done.exit_code == 2
    assert f"{address}: no Ray head answers there (UNAVAILABLE)" in done.stderr


def test_a_port_of_something_else_is_no_cluster():
    """Ray itself would ask it again and again for more than eight minutes."""
    refused = pytest.raises(ClusterError, match="no Ray head answers there")
    with socket.create_server(("127.0.0.1", 0)) as other, refused:
        usable_cluster(f"127.0.0.1:{other.getsockname()[1]}", cpus=1, gpus=0)


def test_what_ray_says_of_another_version_is_told(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("Version mismatch: The cluster was started with: Ray: 2.9.0")

    monkeypatch.setattr(ray_cluster, "health", lambda _: "")
    monkeypatch.setattr("ray.init", refuse)
    with pytest.raises(ClusterError, match=r"head:6379: Version mismatch.*Ray: 2\.9\.0"):
        usable_cluster("head:6379", cpus=1, gpus=0)


def node(**resources):
    return {"Resources": resources}


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "fits"),
    [
        ([node(CPU=2.0)], 2, 0, True),
        ([node(CPU=2.0), node(CPU=2.0)], 3, 0, False),  # a worker is not spread over nodes
        ([node(CPU=8.0), node(CPU=1.0, GPU=1.0)], 1, 0.5, True),
        ([node(CPU=8.0), node(CPU=1.0, GPU=1.0)], 2, 0.5, False),
        ([node()], 1, 0, False),
    ],
)
def test_room_is_counted_node_by_node(nodes, cpus, gpus, fits):
    if fits:
        return require_room(nodes, cpus, gpus)
    with pytest.raises(ClusterError, match=f"no Ray node has room for a worker of {cpus} CPUs"):
        require_room(nodes, cpus, gpus)


def test_a_node_without_our_packages_is_named():
    ours = {name: version(name) for name in ray_cluster.PACKAGES}
    require_packages("Ray node 10.0.0.7", ours)
    with pytest.raises(ClusterError, match=r"10\.0\.0\.7 has flwr not installed, this machine 1\.39"):
        require_packages("Ray node 10.0.0.7", {**ours, "flwr": "not installed"})
