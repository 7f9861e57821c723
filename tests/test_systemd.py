"""The systemd units: commands that Flower takes, doors closed as in the compose file, zombies restarted."""

import argparse
import configparser
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from flwr.supercore.cli.flower_superexec import _parse_args as superexec
from flwr.superlink.cli.flower_superlink import _parse_args_run_superlink as superlink
from flwr.supernode.cli.flower_supernode import _parse_args_run_supernode as supernode

from tests.health import SERVING, health_server

UNITS = Path(__file__).resolve().parent.parent / "docs" / "systemd"


def clientapp():
    """Our own command, whose options this reads as its parser does."""
    parser = argparse.ArgumentParser()
    for name in ("--supernode", "--secret", "--approved"):
        parser.add_argument(name, required=True)
    parser.add_argument("--health", dest="health_server_address")
    return parser


PARSERS = {
    "superlink": superlink,
    "serverapp": superexec,
    "supernode": supernode,
    "clientapp": clientapp,
}


def unit(name):
    """A unit's sections, continuation lines joined."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, delimiters=("=",))
    parser.optionxform = str
    parser.read_string((UNITS / name).read_text(encoding="utf-8").replace("\\\n", " "))
    return parser


def arguments(part):
    program, *words = shlex.split(unit(f"murmuration-{part}.service")["Service"]["ExecStart"])
    if part == "clientapp":  # only what its owner approved
        assert (program, *words[:2]) == ("/opt/murmuration/.venv/bin/murmur", "deploy", "clientapp")
        words = words[2:]
    else:
        assert program.startswith("/opt/murmuration/.venv/bin/flower-")
    return PARSERS[part]().parse_args(words)


def test_flower_takes_every_command_and_the_doors_are_closed():
    given = {part: arguments(part) for part in PARSERS}
    link, node = given["superlink"], given["supernode"]
    assert (link.isolation, link.enable_supernode_auth, link.insecure) == ("process", True, False)
    assert (link.host, link.fleet_api_address) == ("127.0.0.1", "127.0.0.1:9093")
    assert link.ssl_certfile and link.ssl_keyfile and link.ssl_ca_certfile and link.database
    assert (node.isolation, node.host) == ("process", "127.0.0.1")
    assert node.root_certificates and node.auth_supernode_private_key and not node.insecure
    assert given["serverapp"].root_certificates and not given["serverapp"].insecure
    assert all(given[part].superexec_auth_secret_file for part in ("superlink", "serverapp", "supernode"))


@pytest.mark.parametrize("part", PARSERS)
def test_a_part_names_no_file_of_another_and_makes_none_that_others_read(part):
    text = (UNITS / f"murmuration-{part}.service").read_text(encoding="utf-8")
    files = set(re.findall(r"/(?:etc|var/lib)/murmuration/([\w.-]+)", text))
    assert files <= {part, "environment", "empty"}
    assert unit(f"murmuration-{part}.service")["Service"]["UMask"] == "0077"


def test_the_proxy_stands_between_the_nodes_and_the_superlink():
    text = (UNITS / "proxy.conf").read_text(encoding="utf-8")
    assert f"server {arguments('superlink').fleet_api_address};" in text
    assert "listen 9092 ssl http2;" in text and "grpc_ssl_verify on;" in text
    assert unit("murmuration-proxy.service")["Service"]["User"] == "murmur-proxy"


@pytest.mark.parametrize("part", PARSERS)
def test_a_service_comes_back_without_root_and_sees_no_homes(part):
    service = unit(f"murmuration-{part}.service")["Service"]
    assert (service["User"], service["Restart"], service["NoNewPrivileges"]) == (
        f"murmur-{part}",
        "always",
        "true",
    )
    assert (service["ProtectSystem"], service["ProtectHome"]) == ("strict", "true")
    if part == "clientapp":
        assert (service["IPAddressDeny"], service["IPAddressAllow"]) == ("any", "localhost")


def test_every_part_is_watched_at_the_address_where_it_answers():
    addresses = {part: arguments(part).health_server_address for part in PARSERS}
    assert len(set(addresses.values())) == len(PARSERS), "two parts of one host on one port"
    watched = dict(line.split()[1:3] for line in watch().splitlines() if line.startswith("check m"))
    assert watched == {f"murmuration-{part}": address for part, address in addresses.items()}


def watch():
    return (UNITS / "watch.sh").read_text(encoding="utf-8")


def test_only_what_is_active_and_silent_is_restarted(tmp_path):
    """superlink serves, supernode is alive and silent, serverapp is gone, clientapp is not on this host."""
    (tmp_path / "systemctl").write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n[ "$1" = restart ] || [ "$3" != murmuration-clientapp ]\n'
    )
    (tmp_path / "python").write_text(
        f"#!{sys.executable}\nimport cli.deploy.probes as p; p.SECONDS = p.PAUSE_SECONDS = 0.2\n"
        "p.health.__defaults__ = (1.0,)\nraise SystemExit(p.main())\n"
    )
    with health_server(SERVING) as serving, socket.create_server(("127.0.0.1", 0)) as silent:
        script = watch().replace("python -m cli.deploy.probes", "python")
        script = script.replace("127.0.0.1:8099", serving)
        script = script.replace("127.0.0.1:8098", f"127.0.0.1:{silent.getsockname()[1]}")
        script = script.replace("127.0.0.1:8097", "127.0.0.1:1")
        (tmp_path / "watch.sh").write_text(script)
        for name in ("systemctl", "python"):
            (tmp_path / name).chmod(0o755)
        paths = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
        subprocess.run(
            ["sh", tmp_path / "watch.sh"],
            env={**os.environ, "PATH": paths, "PYTHONPATH": str(UNITS.parent.parent)},
            check=True,
        )
    asked = (tmp_path / "asked").read_text().splitlines()
    restarted = {line.split()[1] for line in asked if line.startswith("restart")}
    assert restarted == {"murmuration-supernode", "murmuration-serverapp"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_nothing_wrong(tmp_path):
    for file in UNITS.glob("murmuration-*"):
        here = file.read_text(encoding="utf-8").replace("/opt/murmuration/.venv/bin/", f"{tmp_path}/")
        here = here.replace("/usr/sbin/nginx", f"{tmp_path}/nginx")
        (tmp_path / file.name).write_text(here)
    commands = ("flower-superlink", "flower-supernode", "flower-superexec", "murmur", "nginx")
    for command in commands:
        (tmp_path / command).touch(mode=0o755)
    units = sorted(tmp_path.glob("*.service")) + sorted(tmp_path.glob("*.timer"))
    assert len(units) == 9
    done = subprocess.run(
        ["systemd-analyze", "verify", *units],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
