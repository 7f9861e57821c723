"""What every measurement shares: the best of some repeats, the machine, and the page it is written to."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("torch", "numpy", "numba", "flwr", "ray", "cryptography")


def one_thread() -> None:
    """Ratios are per core; two threads on a busy machine measure its neighbours."""
    torch.set_num_threads(1)


def best_seconds(
    works: Mapping[str, Callable[[], object]],
    repeats: int = 7,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """The shortest run of each, in turns: what disturbs the machine disturbs them alike."""
    best = dict.fromkeys(works, float("inf"))
    for repeat in range(repeats + 1):  # the first warms up
        for name, work in works.items():
            began = clock()
            work()
            seconds = clock() - began
            best[name] = min(best[name], seconds) if repeat else float("inf")
    return best


def processor() -> str:
    """The name that the machine gives its processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def conditions() -> str:
    """Date, machine and versions, as a page's first lines."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"- {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {processor()}, one thread, Python "
        f"{platform.python_version()}\n- {versions}"
    )


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows as a Markdown table; the first is the heading."""
    heading, *rest = rows
    lines = [heading, tuple("---" for _ in heading), *rest]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A measured ratio, and from where or up to where it is good; neither if it is only told."""

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def goal(self) -> str:
        """The goal in words."""
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return "" if self.at_most is None else f"at most {self.at_most:g}"

    @property
    def verdict(self) -> str:
        """Whether the goal is met, if there is one."""
        if not self.goal:
            return ""
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return "met" if low <= self.value <= high else "**not met**"


def write(page: Path, text: str, ratios: Sequence[Ratio] = ()) -> None:
    """Write the page, say where, and keep its ratios beside it for the table of benchmarks/README.md."""
    page.write_text(text + "\n", encoding="utf-8")
    if ratios:
        kept = {"measured": f"{datetime.now(UTC):%Y-%m-%d %H:%M}", "ratios": [asdict(one) for one in ratios]}
        page.with_suffix(".json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(text, f"\n-> {page}")
