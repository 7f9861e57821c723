"""The page of a soak, from its events: `python -m benchmarks.soak.page EVENTS [NOTES]`.

Writes benchmarks/soak.md and soak.png; NOTES is a Markdown file of what a person found in the logs.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from benchmarks.report import processor, table, write
from benchmarks.soak.events import read_events
from benchmarks.soak.runs import SETTINGS
from benchmarks.soak.story import Event, fault_rows, lives, memory_rows, of, played

APPS = ("serverapp", "clientapp")  # whose containers' apps come and go
PAGE = Path(__file__).resolve().parent.parent / "soak.md"


def main() -> None:
    """Write page and picture."""
    events = read_events(Path(sys.argv[1]))
    found = Path(sys.argv[2]).read_text(encoding="utf-8").strip() if len(sys.argv) > 2 else ""
    draw(events, PAGE.with_suffix(".png"))
    parts = [
        "# A federation under faults",
        opening(events),
        "![rounds, faults and memory](soak.png)",
        *("## Rounds and runs", table(run_rows(events))),
        *("## Faults", FAULTS, table(fault_rows(played(events)))),
        *("## What had to hold", held(events)),
        *("## Memory", MEMORY, table(memory_rows(events)), stores(events)),
    ]
    write(PAGE, "\n\n".join([*parts, *(["## What was found", found] if found else [])]))


def opening(events: Sequence[Event]) -> str:
    """What was run, on what, for how long."""
    begin, last = next(of(events, "begin")), events[-1]
    settings = ", ".join(f"`{name}={value}`" for name, value in SETTINGS.items())
    return (
        "`docker/soak.sh`: the compose file's SuperLink, proxy, ServerApp and three nodes on one host "
        f"({processor()}, two cores, shared with other work) for {last['t'] / 3600:.2f} hours, faults drawn "
        f"with seed {begin['seed']}. Code of commit {begin['commit']}. Runs are submitted one after the "
        f"other ({settings}), and one that ends before its time is resumed."
        + "".join(
            f" At {event['t'] / 60:.0f} minutes a mended version replaced {event['of']}: {event['said']}."
            for event in of(events, "new version")
        )
    )


def run_rows(events: Sequence[Event]) -> list[tuple[str, ...]]:
    """Rounds, runs and what an operator had to do."""
    ended = list(of(events, "run ended"))
    times = [event["t"] for event in of(events, "round")]
    gaps = sorted(later - earlier for earlier, later in pairwise(times))
    rows = [
        ("rounds released", len(times)),
        ("runs submitted or resumed", len(ended)),
        ("runs completed", sum(event["code"] == 0 and event["rounds"] > 0 for event in ended)),
        ("of them after they were resumed", sum(_resumed_to_the_end(event) for event in ended)),
        ("ended before their time", sum(event["code"] != 0 for event in ended)),
        ("times a person was needed for more than `run.resume`", _stuck(events)),
        ("seconds from one round to the next, median", f"{gaps[len(gaps) // 2]:.0f}"),
        ("the same, longest", f"{gaps[-1]:.0f}"),
    ]
    return [("what", "number"), *((name, str(value)) for name, value in rows)]


def _resumed_to_the_end(event: Event) -> bool:
    return bool(event["code"] == 0 and event["resumed"] and event["rounds"] > 0)


def _stuck(events: Sequence[Event]) -> int:
    return sum(event["of"] in ("stuck", "resuming") for event in of(events, "violation"))


def held(events: Sequence[Event]) -> str:
    """What was checked, how often, and what did not hold."""
    end, replies = next(of(events, "end"), None), next(of(events, "replies"), None)
    lines = []
    if end:
        lines += [
            f"Looked at {end['looks']:,} times, each look at all ledgers and all run folders:",
            "",
            HELD,
            "",
        ]
        lines += [f"At the end {end['recomputed']:,} epsilons that rounds had shown were computed again."]
    if replies:
        reasons = Counter[str](replies["reasons"]).most_common(5)
        told = "; ".join(f'"{reason}" {times} times' for reason, times in reasons)
        lines += [f"{replies['lost']} of {replies['rounds']} rounds lacked a reply ({told})."]
    wrong = [event for event in of(events, "violation")]
    lines += ["", f"Violations: {len(wrong)}."]
    lines += [f"- {event['utc']} UTC, {event['of']}: {event['said']}" for event in wrong]
    return "\n".join(lines)


def stores(events: Sequence[Event]) -> str:
    """Databases, disks and logs at the beginning and at the end."""
    samples = list(of(events, "sample"))
    first = samples[len(samples) // 10]
    rows: list[tuple[str, ...]] = [("bytes on disk, MB", "after a tenth of the time", "most", "at the end")]

    def row(name: str, value: list[float]) -> None:
        rows.append((name, *(f"{number / 1e6:.2f}" for number in (value[0], max(value), value[-1]))))

    since = samples[len(samples) // 10 :]
    row("superlink.db with its write-ahead log", [one["superlink_db"] for one in since])
    for disk in first["disks"]:
        row(f"files on the disk of {disk}", [one["disks"][disk] for one in since])
    for name in sorted(first["parts"]):
        row(f"log of {name}", [one["parts"][name]["log"] for one in since if name in one["parts"]])
    return table(rows)


def draw(events: Sequence[Event], picture: Path) -> None:
    """Rounds and faults above, memory by part below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, *panels) = pyplot.subplots(3, 1, sharex=True, figsize=(9, 8), dpi=80)
    times = [event["t"] / 60 for event in of(events, "round")]
    above.plot(times, range(1, len(times) + 1), color="black", linewidth=1)
    for one in played(events):
        end = max(one.undone, one.began + 10) / 60
        above.axvspan(one.began / 60, end, alpha=0.25, color="tab:red", linewidth=0)
    above.set_ylabel("rounds released (faults red)")
    for name, those in sorted(lives(events).items()):
        panel = panels[name.startswith(APPS)]
        colour = panel.plot([], [], label=name)[0].get_color()
        for life in those:
            minutes = [t / 60 for t, _ in life]
            panel.plot(minutes, [one["memory"] / 1e6 for _, one in life], linewidth=0.8, color=colour)
    for panel in panels:
        panel.set_ylabel("anonymous memory, MB")
        panel.legend(fontsize=6, ncols=5, loc="upper center", bbox_to_anchor=(0.5, 1.12))
    panels[1].set_xlabel("minutes")
    figure.tight_layout()
    figure.savefig(picture)


FAULTS = """A fault begins 5 to 45 s after the one before was recovered from. Health: all nine parts are
healthy by their own checks. The seconds count from the moment when the fault was undone; for SIGKILL,
which nobody undoes, from the fault itself. This kernel has no netem: a slow link is tc's token bucket, a
lossy one a packet filter that drops at random. A clock is stepped by `docker/clock.c`: what programs read
as the time of day steps, their monotonic clocks do not. (libfaketime 0.9.10 makes each sleep of Python
3.11 fail with EINVAL, where it is told to leave monotonic clocks alone.)"""

HELD = """- the chain of each ledger is whole (`murmur ledger verify`'s own function, once a minute), and
  its earlier bytes are as they were;
- sequence numbers count up; rounds of a run go on by one, or back where it was resumed; each entry of a run
  has the same sampling rate and noise multiplier, however many nodes answered;
- each round in metrics.jsonl is in the ledger, at least as often as it was shown, and each newest
  checkpoint's head is in a ledger: spent first, released second;
- each released model is a whole file of finite numbers."""

MEMORY = """Anonymous memory by the kernel's count (what files are cached is not in it), every 10 s, each
container's processes together. A part that is started anew begins anew: the table has the longest life of
each, its first three minutes aside. The apps are processes that come and go within the ServerApp's and
the ClientApps' containers, so that what grows shows in the lowest value."""

if __name__ == "__main__":
    main()
