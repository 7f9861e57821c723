"""Hosts of a network of their own: Linux network namespaces on one bridge, gone with the test."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

NETWORK = "10.91.0"


def ip(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run iproute2's `ip`, with its words in the error."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done


def why_no_hosts() -> str:
    """Empty if namespaces can be made here, else the reason."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed: apt-get install iproute2"
    name = f"murmur-probe-{os.getpid()}"
    try:
        ip("netns", "add", name)
        ip("netns", "exec", name, "true")
    except OSError as error:
        return f"network namespaces cannot be made here (root needed): {error}"
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return ""


@dataclass(frozen=True)
class Host:
    """A host: its own interfaces, routes and loopback; its files are this machine's."""

    namespace: str
    address: str

    def command(self, *words: str) -> list[str]:
        """The command line that runs `words` on this host."""
        return ["ip", "netns", "exec", self.namespace, *words]


@contextmanager
def slow_uplink(host: Host, *, kbit_per_second: int) -> Iterator[None]:
    """What `host` sends leaves it no faster than that, in a queue of two seconds."""
    shape = ("tbf", "rate", f"{kbit_per_second}kbit", "burst", "32kb", "latency", "2s")
    tc = host.command("tc", "qdisc")
    subprocess.run([*tc, "replace", "dev", "eth0", "root", *shape], check=True)
    try:
        yield
    finally:
        subprocess.run([*tc, "del", "dev", "eth0", "root"], check=True)


@contextmanager
def hosts(*names: str) -> Iterator[list[Host]]:
    """So many hosts on one switch, each with an address of `NETWORK`."""
    mark = f"m{os.getpid() % 100000}"
    switch = f"{mark}-switch"
    made = [Host(f"{mark}-{name}", f"{NETWORK}.{number}") for number, name in enumerate(names, 1)]
    try:
        ip("netns", "add", switch)
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        for number, host in enumerate(made):
            _plug(host, switch, f"port{number}")
        yield made
    finally:
        for namespace in (switch, *(host.namespace for host in made)):
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)


def _plug(host: Host, switch: str, port: str) -> None:
    ip("netns", "add", host.namespace)
    ip("-n", host.namespace, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", switch)
    ip("-n", switch, "link", "set", port, "master", "bridge", "up")
    ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
    ip("-n", host.namespace, "link", "set", "lo", "up")
    ip("-n", host.namespace, "link", "set", "eth0", "up")
