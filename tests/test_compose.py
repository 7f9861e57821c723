"""The compose file: what its script writes, valid, and closed where it must be."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
MODELS = "${MODELS:-models}:/state/models:ro"


def written(nodes, *options):
    done = subprocess.run(
        [sys.executable, ROOT / "docker" / "compose.py", str(nodes), *options],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_the_committed_file_is_what_the_script_writes():
    assert (ROOT / "docker-compose.yml").read_text(encoding="utf-8") == written(3)


@pytest.mark.parametrize("nodes", [1, 5])
def test_a_node_shares_nothing_with_another(nodes):
    file = yaml.safe_load(written(nodes))
    services = file["services"]
    assert sum(name.startswith("supernode-") for name in services) == nodes
    for number in range(1, nodes + 1):
        node, client = services[f"supernode-{number}"], services[f"clientapp-{number}"]
        assert node["networks"] == ["fleet", f"node-{number}"] and client["networks"] == [f"node-{number}"]
        assert file["networks"][f"node-{number}"] == {"internal": True}
        for volume in {*node["volumes"], *client["volumes"]} - {MODELS}:
            assert f"node-{number}" in volume or f"NODE_{number}_DATA" in volume
        assert f"partition-id={number - 1} num-partitions={nodes}" in node["command"]


def test_who_trains_and_who_scores_reads_the_models_and_nobody_writes_them():
    file = yaml.safe_load(written(2))
    readers = {name for name, one in file["services"].items() if "/models" in str(one.get("volumes"))}
    assert readers == {"serverapp", "clientapp-1", "clientapp-2"}
    assert all(MODELS in file["services"][name]["volumes"] for name in readers)
    assert "models" in file["volumes"]  # an empty one, where MODELS names no folder
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert "MURMUR_HOME=/state\n" in dockerfile  # whose store is models in it


@pytest.mark.parametrize(
    ("extras", "more"), [((), set()), (("pretrained", "plots"), {"transformers", "matplotlib"})]
)
def test_an_image_has_the_extras_that_are_asked_for(extras, more):
    asked = requirements(*extras)
    assert asked.returncode == 0
    names = {re.split(r"[^\w-]", line)[0] for line in asked.stdout.splitlines()}
    assert {"torch", "flwr"} <= names
    assert names & {"transformers", "matplotlib", "onnx"} == more


def test_an_extra_that_there_is_not_ends_the_build():
    asked = requirements("pretraned")
    assert asked.returncode == 1 and "no extra 'pretraned'; there are" in asked.stderr


def requirements(*extras):
    command = [sys.executable, ROOT / "docker" / "requirements.py", ROOT / "pyproject.toml", *extras]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_nodes_reach_the_proxy_and_only_the_proxy_the_superlink():
    file = yaml.safe_load(written(2))
    services = file["services"]
    assert services["proxy"]["networks"] == {"door": {}, "fleet": {"aliases": ["superlink"]}}
    assert {name for name, service in services.items() if "door" in service.get("networks", ())} == {
        "superlink",
        "proxy",
    }
    assert "fleet" not in services["superlink"]["networks"]
    assert file["networks"]["door"]["internal"] is True
    dockerfile = (ROOT / "docker" / "proxy.Dockerfile").read_text(encoding="utf-8")
    (alias,) = services["superlink"]["networks"]["door"]["aliases"]
    port = re.search(r"--fleet-api-address \S+:(\d+)", services["superlink"]["command"])[1]
    assert f"s/127\\.0\\.0\\.1:9093/{alias}:{port}/" in dockerfile


def test_credentials_are_shared_by_no_two_parts():
    """The operator's one-shot and the doctor's, with no private key in it, excepted."""
    services = yaml.safe_load(written(2))["services"]
    users = {}
    for name, service in services.items():
        for volume in service.get("volumes", []):
            if "credentials:" in volume and name != "setup":
                users.setdefault(volume.split(":")[0], []).append(name)
    assert sorted(users.pop("operator-credentials")) == ["doctor", "register", "run"]
    assert len(users) == 3 + 2 * 2 and all(len(names) == 1 for names in users.values()), users
    assert not any("ca.key" in str(service) for service in services.values())


def test_everything_is_authenticated_and_nothing_is_published():
    services = yaml.safe_load(written(3))["services"]
    superlink = services["superlink"]["command"]
    for option in (
        "--enable-supernode-auth",
        "--ssl-certfile",
        "--isolation process",
        "--superexec-auth-secret-file",
    ):
        assert option in superlink
    assert "--insecure" not in superlink and "--host 0.0.0.0" not in superlink
    for name, service in services.items():
        assert "ports" not in service, name
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["mem_limit"] and service["cpus"], name
        long_lived = name.startswith(("superlink", "proxy", "doctor", "supernode", "serverapp", "clientapp"))
        assert (service["restart"] == "unless-stopped") == long_lived, name
        assert ("test" in service["healthcheck"]) == long_lived, name


def test_an_image_built_by_compose_is_the_dockerfiles():
    """docker-compose v1 hands over an empty text for an argument without a value: defaults stand in both."""
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    expected = dict(re.findall(r"^ARG (\w+)(?:=(\S+))?$", dockerfile, flags=re.MULTILINE))
    given = yaml.safe_load(written(3))["services"]["setup"]["build"]["args"]
    assert set(given) == set(expected)
    for name, value in given.items():
        assert re.fullmatch(rf"\$\{{{name}:?-(.*)\}}", value)[1] == expected[name], name


def test_gpus_go_to_the_apps_and_nothing_else_changes():
    plain, gpu = (yaml.safe_load(written(2, *options))["services"] for options in ((), ("--gpu",)))
    for name, service in gpu.items():
        given = service.pop("deploy", None)
        assert (given is not None) == name.startswith(("clientapp", "serverapp")), name
        if given:
            (device,) = given["resources"]["reservations"]["devices"]
            assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert gpu == plain


def test_every_room_of_the_app_and_the_command_is_in_the_image():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    rooms = {pattern.split("/")[0] for pattern in project["tool"]["flwr"]["app"]["fab-include"]}
    rooms |= {"cli", "murmuration_data"}
    copied = set(
        re.findall(r"^COPY (\w+) /app/\1$", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    )
    sent = set(re.findall(r"^!(\w+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)) - {"LICENSE"}
    assert copied == rooms and sent == rooms
