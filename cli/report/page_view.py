"""The page: what all runs say together, its charts, and its HTML.

Guarantee: the file asks for nothing outside itself: styles and programs are in it, and its content security
policy allows no request and no program but these, by their SHA-256. (The live page of `murmur watch` asks the
address that it came from, and no other.) All text is escaped where it is put in, in HTML by jinja2, in the
embedded data by `htmlsafe_json_dumps`.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from base.release import release
from cli.report import evaluation_tables, public
from cli.report.charts import Chart, curves, speaker_chart
from cli.report.evaluations import aligned
from cli.report.owner_view import OwnerView, owner_view
from cli.report.run_facts import RunFacts
from cli.report.run_view import BY_GROUP, RunView, Table, rounds_by_group, run_view
from cli.report.sounds import Room

PAGE = Path(__file__).with_name("page")
PROGRAMS = ("d3.min.js", "plot.umd.min.js", "report.js")
LIVE_PROGRAM = "live.js"
Audience = Literal["owner", "public"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the person asked for.

    Attributes:
        audience: Who reads the page.
        corpus_may_be_published: Whether a public page may name held-out speakers and quote their transcripts.
        command: The command that made it, in the words that the page may have.
    """

    audience: Audience
    corpus_may_be_published: bool
    command: str

    @property
    def for_public(self) -> bool:
        """Whether it is for the public."""
        return self.audience == "public"


@dataclass(frozen=True, kw_only=True)
class Section:
    """One run on the page: its view, its charts, and what only the owner sees."""

    view: RunView
    owner: OwnerView | None
    groups: Sequence[Chart]
    speakers: Chart | None
    speaker_table: Table | None
    quantiles: Table | None
    by: Table | None
    against: str
    utterances: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class PlanSection:
    """What the run's plan promises to its end.

    Attributes:
        notes: Sentences above the charts.
        charts: Its charts.
        table: The same in numbers; None without noise.
    """

    notes: Sequence[str]
    charts: Sequence[Chart] = ()
    table: Table | None = None


@dataclass(frozen=True, kw_only=True)
class Live:
    """What the live page of `murmur watch` has beside the report.

    Attributes:
        said: How far the run is, in a sentence.
        proof: A text that the page got with its first answer and finds in each later one.
        plan: The plan; None until it is computed.
    """

    said: str
    proof: str
    plan: PlanSection | None = None


def page(runs: Sequence[RunFacts], evaluations: Mapping[str, Mapping[str, Any]], asked: Asked) -> str:
    """The HTML of a report.

    Args:
        runs: The runs, in the order of the command.
        evaluations: Files of `murmur evaluate`, by the ids of the runs.
        asked: What the person asked for.

    Raises:
        ConfigError: If something asked for cannot be in a public report.
    """
    room = Room()
    return rendered(sections_of(runs, evaluations, asked, room), asked, without_room=room.left_out)


def sections_of(
    runs: Sequence[RunFacts],
    evaluations: Mapping[str, Mapping[str, Any]],
    asked: Asked,
    room: Room | None = None,
) -> list[Section]:
    """What the page says of each run; arguments and errors are those of `page`, and `room` is for sound."""
    if asked.for_public:
        public.require_private([one.short for one in runs if not one.plan.is_private])
    room = room or Room()
    return [_section(one, evaluations.get(one.run), _label(one, asked), asked, room) for one in runs]


def rendered(
    sections: Sequence[Section], asked: Asked, live: Live | None = None, without_room: int = 0
) -> str:
    """The HTML of sections; with `live` that of the live page, where a run that has not begun has none.

    `without_room` is the number of recordings that were left out.
    """
    charts: dict[str, Chart] = {}
    programs = [_text(name) for name in (*PROGRAMS, *([LIVE_PROGRAM] if live else []))]
    template = _environment(charts).get_template("report.html.j2")
    text: str = template.render(
        runs=sections,
        curves=_curves([one.view for one in sections]),
        differences=_differences([one.view for one in sections]),
        asked=asked,
        live=live,
        without_room=without_room,
        title=_title(sections),
        release=release(),
        made=f"{datetime.now(UTC):%Y-%m-%d}",
        styles=_text("report.css"),
        programs=programs,
        policy=policy(
            programs,
            live=live is not None,
            sound=any(one["sound"] for section in sections for one in section.utterances),
        ),
    )
    return text


def policy(programs: Sequence[str], *, live: bool, sound: bool) -> str:
    """The content security policy of a page with these programs; a live page asks its own address."""
    hashes = " ".join(f"'{_hash(one)}'" for one in programs)
    plays = "media-src data:; " if sound else ""
    asks = "connect-src 'self'; " if live else ""
    return (
        f"default-src 'none'; img-src data:; {plays}style-src 'unsafe-inline'; script-src {hashes}; "
        f"{asks}base-uri 'none'; form-action 'none'"
    )


def _label(facts: RunFacts, asked: Asked) -> str:
    """The run's name on the page: its id for the public, for the owner the name of its folder."""
    return f"run {public.run_name(facts.run)}" if asked.for_public else facts.folder.path.resolve().name


def _title(sections: Sequence[Section]) -> str:
    if not sections:
        return "A run that is about to begin"
    if len(sections) == 1:
        return f"Report of {sections[0].view.label}"
    return f"Report of {len(sections)} runs"


def _section(
    facts: RunFacts, measured: Mapping[str, Any] | None, label: str, asked: Asked, room: Room
) -> Section:
    found = _evaluation(facts, measured, asked)
    words = room.fitted(found.get("worst_utterances", ()))
    view = run_view(facts, found, label, for_public=asked.for_public)
    return Section(
        view=view,
        owner=None if asked.for_public else owner_view(facts),
        groups=_charts_by_group(view),
        speakers=speaker_chart(found),
        speaker_table=evaluation_tables.by_speaker(found),
        quantiles=evaluation_tables.quantiles(found),
        by=evaluation_tables.by_field(found),
        against=evaluation_tables.against(found),
        utterances=[{**one, "columns": aligned(one)} for one in words],
    )


def _evaluation(facts: RunFacts, measured: Mapping[str, Any] | None, asked: Asked) -> dict[str, Any]:
    """The file of `murmur evaluate` if there is one, else evaluation.json; for the public what may be
    shown."""
    found = measured if measured is not None else facts.evaluation
    if found is None or (asked.for_public and not facts.held_out_is_covered):
        return {}
    if asked.for_public:
        return public.public_evaluation(found, corpus_may_be_published=asked.corpus_may_be_published)
    return dict(found)


def _curves(views: Sequence[RunView]) -> list[Chart]:
    """WER and CER over rounds and epsilon, loss, and the noised statistics."""
    runs = [(view.label, view.lines) for view in views]
    rates, epsilon = {"wer": "WER", "cer": "CER"}, "epsilon_rdp_this_run"
    private = [(view.label, view.lines) for view in views if view.private]
    found = [
        curves("Word error rate and character error rate by round", runs, "round", rates, percent=True),
        curves(
            "Word error rate against epsilon (RDP, this run)",
            private,
            epsilon,
            {"wer": "WER"},
            percent=True,
            x_title="epsilon",
        ),
        curves("Loss on held-out speech", runs, "round", {"loss": "loss"}),
        curves("Epsilon spent by round (RDP, this run)", private, "round", {epsilon: "epsilon"}),
        curves("Training loss, with noise", runs, "round", {"train_loss_noised": "training loss"}),
        curves(
            "Share of clipped layers, with noise",
            runs,
            "round",
            {"clipped_share_noised": "clipped share"},
            percent=True,
        ),
    ]
    return [one for one in found if one is not None]


def _charts_by_group(view: RunView) -> list[Chart]:
    """What the releases say of groups of layers, over rounds."""
    found = []
    for name, title in BY_GROUP.items():
        lines = rounds_by_group(view.lines, name)
        groups = {group: group for line in lines for group in line if group != "round"}
        share = name == "group_clipped_share_noised"
        chart = curves(title, [(view.label, lines)], "round", groups, percent=share)
        if chart is not None:  # noise is on the norm's logarithm
            found.append({**chart, "log_y": name == "group_update_norm_noised"})
    return found


def _differences(views: Sequence[RunView]) -> Table | None:
    """The settings in which the runs differ, and what came of it."""
    if len(views) < 2:
        return None
    keys = dict.fromkeys(key for view in views for key in view.settings)
    rows = [
        (key, *(_value(view.settings.get(key, "left out")) for view in views))
        for key in keys
        if len({_value(view.settings.get(key)) for view in views}) > 1
    ]
    results = [("epsilon (true)", *(view.epsilon for view in views))]
    for name in ("WER", "CER"):
        after = [next((one["after"] for one in view.results if one["name"] == name), "") for view in views]
        results.append((f"{name} at the end", *after))
    return Table(
        caption="What differs between the runs",
        titles=("", *(view.label for view in views)),
        rows=[*results, *rows],
    )


def _value(value: object) -> str:
    return json.dumps(value) if isinstance(value, bool) else "" if value is None else str(value)


def _environment(charts: dict[str, Chart]) -> Any:
    """jinja2 with escaping; `chart(one)` files a chart and returns its number, `data()` all of them as
    JSON."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from jinja2.utils import htmlsafe_json_dumps

    def chart(one: Chart) -> str:
        name = f"c{len(charts)}"
        charts[name] = one
        return name

    made = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(chart=chart, data=lambda: htmlsafe_json_dumps(charts, separators=(",", ":")))
    return made


def _text(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")


def _hash(program: str) -> str:
    return "sha256-" + b64encode(hashlib.sha256(program.encode()).digest()).decode()
