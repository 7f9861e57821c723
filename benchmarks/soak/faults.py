"""The faults: each kind is a function that draws one from a seeded generator, ready to begin and to end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from benchmarks.soak.federation import DISKS, NODES, Federation, born, fill, processes


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong for `hold_seconds`; `family` is what the page counts it under."""

    family: str
    targets: tuple[str, ...]
    detail: str
    hold_seconds: float
    begin: Callable[[], None]
    end: Callable[[], None]


Kind = Callable[[Federation, Random], Fault]
KINDS: dict[str, tuple[float, Kind]] = {}


def kind(weight: float) -> Callable[[Kind], Kind]:
    """Register a kind that is drawn with this weight."""

    def register(make: Kind) -> Kind:
        KINDS[make.__name__] = (weight, make)
        return make

    return register


def draw(federation: Federation, random: Random) -> Fault:
    """A fault of a kind drawn by the weights."""
    (chosen,) = random.choices(list(KINDS.values()), [weight for weight, _ in KINDS.values()])
    return chosen[1](federation, random)


def _any_part(random: Random) -> str:
    """Each of the five sorts of parts as often as the others."""
    sort = random.choice(("superlink", "proxy", "serverapp", "supernode", "clientapp"))
    return f"{sort}-{random.choice(NODES)}" if sort in ("supernode", "clientapp") else sort


@kind(3)
def killed(federation: Federation, random: Random) -> Fault:
    """`docker kill`, and `docker start` by the operator a moment later."""
    name, hold = _any_part(random), random.uniform(1, 40)
    return Fault(
        family="docker kill, then start",
        targets=(name,),
        detail=f"{hold:.0f} s",
        hold_seconds=hold,
        begin=lambda: _call(federation, "kill", name),
        end=lambda: _call(federation, "start", name),
    )


@kind(3)
def crashed(federation: Federation, random: Random) -> Fault:
    """SIGKILL of all its processes: the restart policy alone brings it back."""
    name = _any_part(random)

    def begin() -> None:
        for pid in processes(federation.part(name)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    return Fault("SIGKILL, left to the restart policy", (name,), "", 0.0, begin, _nothing)


@kind(3)
def frozen(federation: Federation, random: Random) -> Fault:
    """SIGSTOP of all its processes for a while: alive, connected and silent."""
    name, hold = _any_part(random), random.choice((random.uniform(5, 30), random.uniform(30, 100)))
    stopped: list[tuple[int, str]] = []

    def begin() -> None:
        for pid in processes(federation.part(name)):
            stopped.append((pid, born(pid)))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def end() -> None:
        for pid, when in stopped:
            if when and born(pid) == when:  # else its health check has ended it
                os.kill(pid, signal.SIGCONT)

    return Fault("SIGSTOP, then SIGCONT", (name,), f"{hold:.0f} s", hold, begin, end)


@kind(4)
def partitioned(federation: Federation, random: Random) -> Fault:
    """No packet comes or goes: one node, two nodes, a ClientApp, the SuperLink or the ServerApp."""
    two = tuple(f"supernode-{node}" for node in random.sample(NODES, 2))
    targets = random.choice(
        (two[:1], two, ("superlink",), ("serverapp",), (f"clientapp-{random.choice(NODES)}",))
    )
    rules = [[way, side, "lo", "-j", "DROP"] for way, side in (("INPUT", "-i"), ("OUTPUT", "-o"))]
    rules = [[way, "!", *rest] for way, *rest in rules]
    return _rules("partition", federation, targets, rules, random.uniform(10, 120), "all packets dropped")


@kind(2)
def lossy(federation: Federation, random: Random) -> Fault:
    """A share of a part's packets is lost, in both directions."""
    share = random.choice((0.03, 0.1, 0.2))
    target = random.choice((f"supernode-{random.choice(NODES)}", "proxy", "superlink"))
    match = ["-m", "statistic", "--mode", "random", "--probability", str(share), "-j", "DROP"]
    rules = [[way, "!", side, "lo", *match] for way, side in (("INPUT", "-i"), ("OUTPUT", "-o"))]
    detail = f"{share:.0%} of packets lost each way"
    return _rules("lossy link", federation, (target,), rules, random.uniform(30, 90), detail)


@kind(2)
def slow(federation: Federation, random: Random) -> Fault:
    """What a part sends goes out at a modem's or a poor phone's rate (tc's token bucket)."""
    rate = random.choice(("128kbit", "512kbit", "2mbit"))
    target = random.choice((f"supernode-{random.choice(NODES)}", "proxy", "superlink"))
    hold = random.uniform(30, 90)
    bucket = ["root", "tbf", "rate", rate, "burst", "16kb", "latency", "800ms"]

    def begin() -> None:
        for interface in federation.interfaces(target):
            if said := federation.in_network_of(target, "tc", "qdisc", "add", "dev", interface, *bucket):
                raise OSError(said)

    def end() -> None:
        for interface in federation.interfaces(target):
            federation.in_network_of(target, "tc", "qdisc", "del", "dev", interface, "root")

    return Fault("slow link", (target,), f"{rate}, {hold:.0f} s", hold, begin, end)


@kind(3)
def disk_full(federation: Federation, random: Random) -> Fault:
    """No byte is free where the runs, the SuperLink's database or a node's apps lie."""
    name = random.choices(tuple(DISKS), (3, 3, 1))[0]
    folder, hold = federation.disk(name), random.uniform(15, 70)
    end = (folder / "filler").unlink
    return Fault(f"full disk of {name}", (name,), f"{hold:.0f} s", hold, lambda: fill(folder), end)


@kind(4)
def clock_stepped(federation: Federation, random: Random) -> Fault:
    """A host's clock, or that of the SuperLink or ServerApp alone, jumps, and jumps back later."""
    node = random.choice(NODES)
    one_node = (f"supernode-{node}", f"clientapp-{node}")
    targets = random.choice((one_node, one_node, ("superlink", "serverapp"), ("superlink",), ("serverapp",)))
    seconds, hold = random.choice((-7200, -40, 40, 7200)), random.uniform(20, 90)

    def step(offset: int) -> None:
        for target in targets:
            set_clock(federation, target, offset)

    detail = f"{seconds:+d} s for {hold:.0f} s"
    family = "clock by 2 hours" if abs(seconds) > 60 else "clock by 40 seconds"
    return Fault(family, targets, detail, hold, lambda: step(seconds), lambda: step(0))


def set_clock(federation: Federation, name: str, offset: int) -> None:
    """Step a part's clock to so many seconds beside the host's."""
    file = federation.clock(name)
    fresh = file.with_name("fresh")
    fresh.write_text(f"{offset:+d}\n", encoding="ascii")
    fresh.replace(file)


def _rules(
    family: str,
    federation: Federation,
    targets: tuple[str, ...],
    rules: list[list[str]],
    hold: float,
    detail: str,
) -> Fault:
    """Packet filter rules in the networks of some containers; a container that is started anew has none."""

    def begin() -> None:
        for target in targets:
            for rule in rules:
                if said := federation.in_network_of(target, "iptables", "-w", "-I", *rule):
                    raise OSError(said)

    def end() -> None:
        for target in targets:
            for rule in rules:
                federation.in_network_of(target, "iptables", "-w", "-D", *rule)

    return Fault(family, targets, f"{detail}, {hold:.0f} s", hold, begin, end)


def _call(federation: Federation, word: str, name: str) -> None:
    done = federation.docker(word, federation.part(name).id)
    if done.returncode:
        raise OSError(done.stderr.strip())


def _nothing() -> None:
    """Nobody undoes this: the federation must."""
