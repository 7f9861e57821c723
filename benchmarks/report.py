"""What every measurement shares: the best of some repeats, the machine, and the page it is written to."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("torch", "numpy", "flwr", "cryptography")


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


def write(page: Path, text: str) -> None:
    """Write the page and say where."""
    page.write_text(text + "\n", encoding="utf-8")
    print(text, f"\n-> {page}")
