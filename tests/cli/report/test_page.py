"""The page says what the run folder says, escapes it, and asks for nothing outside itself."""

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.report import page_view
from cli.report.charts import MOST_COLUMNS, MOST_POINTS, heat_map, points
from cli.report.owner_files import TensorBounds, Traffic, UpdateNorms
from cli.report.run_facts import RunFacts, in_force
from privacy import epsilon_text
from server.storage.run_folder import RunFolder
from tests.cli.report.run_folders import (
    TENSORS,
    copied,
    evaluation_file,
    evaluation_parts,
    plant_norms,
    plant_traffic,
)

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{7*7}}"
# The files as their makers released them (cli/report/page/README.md).
LIBRARIES = {
    "d3.min.js": "912111098ea99503a6f4967361d2bbdc9dbf58cf9c678c8e27e5b02d1a07f0c1",
    "plot.umd.min.js": "4358086467740777dd788d6b27a95cebdbaefdd50c730a3060117073bd7134cb",
}


def report(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


class Elements(HTMLParser):
    """The elements of a page, the text of its scripts, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        else:
            self.words.append(data)


def data_of(text: str) -> dict:
    return json.loads(Elements(text).scripts[0])


def test_numbers_are_those_of_metrics_and_ledger(run, tmp_path):
    out = tmp_path / "page.html"
    done = report(run, "-o", out)
    assert done.exit_code == 0, done.output
    text, facts = out.read_text(), RunFacts.of(run)
    charts = {one["title"]: one for one in data_of(text).values()}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rates = charts["Word error rate and character error rate by round"]["series"]
    for one, field in zip(rates, ("wer", "cer"), strict=True):
        assert one["points"] == [[line["round"], line[field]] for line in lines]
    spent = charts["Epsilon spent by round (RDP, this run)"]["series"][0]["points"]
    assert spent == [[line["round"], line["epsilon_rdp_this_run"]] for line in lines]
    assert f'<p class="number">{epsilon_text(facts.headline.value)}</p>' in text
    assert f"{epsilon_text(facts.extrapolated.value)}</span>" in text and "not this run" in text
    assert facts.plan.adjacency in text and "sampler: Poisson" in text and facts.headline.accountant in text
    for line in lines:
        assert f"<td>{epsilon_text(line['epsilon_rdp_this_run'])}</td>" in text


def test_hostile_words_are_text_everywhere(run, tmp_path):
    run = copied(run, tmp_path / HOSTILE.replace("/", "∕"))
    plant_traffic(RunFolder(run))
    plant_norms(RunFolder(run), (HOSTILE, f"{HOSTILE}2"))
    traffic = run / "traffic.jsonl"
    traffic.write_text(traffic.read_text().replace("planted-reason", json.dumps(HOSTILE)[1:-1]))
    recipe = run / "config.toml"
    recipe.write_text(recipe.read_text().replace('"planted-namespace"', f"'''{HOSTILE}'''"))
    spoken = json.loads(json.dumps(evaluation_parts()).replace("planted", json.dumps(HOSTILE)[1:-1]))
    evaluation = evaluation_file(run, tmp_path / "evaluation.json", **spoken)
    out = tmp_path / "page.html"
    done = report(run, "--for", "owner", "--evaluation", evaluation, "-o", out)
    assert done.exit_code == 0, done.output
    found = Elements(out.read_text())
    tags = [tag for tag, _ in found.tags]
    assert tags.count("script") == 1 + len(page_view.PROGRAMS) and "img" not in tags
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    assert HOSTILE in "".join(found.words)
    names = [one["rows"][0] for one in json.loads(found.scripts[0]).values() if one["chart"] == "heat"]
    assert names == [HOSTILE]


def test_the_page_asks_for_nothing_and_runs_only_its_own_programs(run, tmp_path):
    report(run, "-o", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    found = Elements(text)
    outside = [
        (tag, name, value)
        for tag, attributes in found.tags
        for name, value in attributes.items()
        if name in ("src", "href", "action", "srcset", "data")
        and value
        and not value.startswith(("#", "data:,"))
    ]
    assert not outside
    policy = next(one["content"] for tag, one in found.tags if one.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe-eval" not in policy
    for program in found.scripts[1:]:
        digest = page_view._hash(program)
        assert f"'{digest}'" in policy


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_libraries_are_as_they_were_released(name):
    assert hashlib.sha256((page_view.PAGE / name).read_bytes()).hexdigest() == LIBRARIES[name]


def test_only_its_owner_can_read_the_owners_page(run, tmp_path):
    out = tmp_path / "page.html"
    assert report(run, "-o", out).exit_code == 0 and out.stat().st_mode & 0o044
    assert report(run, "--for", "owner", "-o", out).exit_code == 0
    assert out.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["config.toml", "metrics.jsonl", "ledger.jsonl", "model.safetensors"])
def test_only_a_report_is_written_over(run, tmp_path, name):
    made = copied(run, tmp_path / "runs")
    before = (made / name).read_bytes()
    done = report(made, "-o", made / name)
    assert (done.exit_code, (made / name).read_bytes()) == (2, before)
    assert "is a file that is no report" in " ".join(done.output.replace("│", "").split())
    empty = tmp_path / "made-by-mktemp"
    empty.touch()
    for _ in range(2):
        assert report(made, "-o", empty).exit_code == 0


ROUND = (
    '{"round": 1, "drawn": 3, "nodes_asked": 2, "nodes_answered": 2, "dropped": [], "bytes_down": 1, '
    '"bytes_up": 1, "seconds": 9}'
)
NORMS = '{"round": 1, "node": 1, "speakers": 1, "update_norms": [1.0, 2.0]}'


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("metrics.jsonl", "[1]", "metrics.jsonl:2: is no JSON object (list)"),
        ("metrics.jsonl", "{", "metrics.jsonl:2: is no JSON object ("),
        ("metrics.jsonl", "\xff", "metrics.jsonl:2: is no JSON object ("),
        ("metrics.jsonl", '{"wer": 1}', "metrics.jsonl:2: has no number of a round (round = None)"),
        ("metrics.jsonl", '{"round": true}', "metrics.jsonl:2: has no number of a round (round = True)"),
        ("traffic.jsonl", "7", "traffic.jsonl:2: is no JSON object (int)"),
        ("traffic.jsonl", "{}", "traffic.jsonl:2: has no 'round'; restore the file from a copy"),
        ("traffic.jsonl", '{"round": 1, "drawn": 3}', "traffic.jsonl:2: has no 'nodes_asked'"),
        ("traffic.jsonl", '{"round": 1, "node": 3}', "traffic.jsonl:2: has no 'bytes_down'"),
        ("traffic.jsonl", ROUND.replace("9", "1e999"), "traffic.jsonl:2: seconds = inf: "),
        ("traffic.jsonl", ROUND.replace("[]", '[{"node": 1}]'), "traffic.jsonl:2: has no 'dropped.0.reason'"),
        ("not_private.jsonl", "null", "not_private.jsonl:2: is no JSON object (NoneType)"),
        ("not_private.jsonl", '{"update_norms": [1, 2]}', "not_private.jsonl:2: has no 'round'"),
        ("not_private.jsonl", NORMS.replace("1.0", '"x"'), "not_private.jsonl:2: update_norms.0 = 'x': "),
        ("evaluation.json", "7", "evaluation.json: is no JSON"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(run, tmp_path, name, line, says):
    made = copied(run, tmp_path / "runs")
    plant_norms(RunFolder(made))
    first, *others = (made / name).read_text().splitlines(keepends=True)
    (made / name).write_bytes("".join([first, line + "\n", *others]).encode("latin-1"))
    done = report(made, "--for", "owner", "-o", tmp_path / "page.html")
    assert done.exit_code == 2 and says in done.output and "Traceback" not in done.output
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("cer", 7, "cer = 7: "),
        ("wer", {"rate": "x"}, "wer.rate = 'x': "),
        ("cer", {"interval": {"low": 1}}, "has no 'cer.interval.high'"),
        ("speaker_wer_quantiles", {"0": {}}, "speaker_wer_quantiles.0 = {}: "),
        ("worst_tenth", {"wer": 10**400}, "worst_tenth.wer = 1"),
        ("by_speaker", {"ann": {"wer": 0.5}}, "has no 'by_speaker.ann.words'"),
        ("worst_utterances", [{"id": "u"}], "has no 'worst_utterances.0.speaker'"),
        ("by", {"field": "age"}, "has no 'by.values'"),
        ("against", {"wer_difference": []}, "against.wer_difference = []: "),
    ],
)
@pytest.mark.parametrize("own", [True, False])
def test_a_field_of_an_evaluation_that_cannot_be_shown_is_named(run, tmp_path, name, value, says, own):
    made = copied(run, tmp_path / "runs")
    file = made / "evaluation.json" if own else tmp_path / "e.json"
    evaluation_file(made, file, **{name: value})
    given = [] if own else ["--evaluation", file]
    done = report(made, "--for", "owner", "-o", tmp_path / "page.html", *given)
    assert (done.exit_code, says in done.output, str(file) in done.output) == (2, True, True), done.output
    assert not (tmp_path / "page.html").exists()


def test_a_model_file_that_is_none_is_named(run, tmp_path):
    made = copied(run, tmp_path / "runs")
    plant_norms(RunFolder(made), TENSORS)
    (made / "model.safetensors").write_bytes(b"no model")
    done = report(made, "--for", "owner", "-o", tmp_path / "page.html")
    assert (done.exit_code, "model.safetensors: is no model file" in done.output) == (2, True), done.output


@pytest.mark.parametrize(
    "value", ["NaN", "1e999", "-Infinity", "1" + "0" * 400, '"</script>"', "[1]", "{}", "null"]
)
@pytest.mark.parametrize("reader", ["owner", "public"])
def test_a_number_of_any_kind_breaks_no_page(run, tmp_path, value, reader):
    made = copied(run, tmp_path / "runs")
    *lines, last = (made / "metrics.jsonl").read_text().splitlines()
    fields = {**dict.fromkeys(json.loads(last), "?"), "round": "R"}
    hostile = json.dumps(fields).replace('"?"', value).replace('"R"', str(len(lines)))
    (made / "metrics.jsonl").write_text("\n".join([*lines, hostile, ""]))
    out = tmp_path / "page.html"
    done = report(made, "--for", reader, "-o", out)
    assert (done.exit_code, done.exception) == (0, None), done.output
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', out.read_text(), re.S)[1]
    json.loads(data, parse_constant=lambda name: pytest.fail(f"{name} is no JSON in a browser"))


def test_several_runs_are_one_page_with_what_differs(run, tmp_path):
    other = copied(run, tmp_path / "runs")
    recipe = other / "config.toml"
    recipe.write_text(recipe.read_text().replace("clip-bound = 0.2", "clip-bound = 0.7"))
    out = tmp_path / "page.html"
    assert report(run, other, "-o", out).exit_code == 0
    text = out.read_text()
    assert "What differs between the runs" in text
    assert re.search(r"privacy.clip-bound</th>\s*<td>0.2</td><td>0.7</td>", text)
    series = next(iter(data_of(text).values()))["series"]
    assert {one["run"] for one in series} == {0, 1} and len(series) == 4


def test_the_newest_line_after_a_resumption_holds():
    lines = [{"round": n, "loss": float(n)} for n in range(5)]
    again = [{"round": 2, "loss": 9.0, "resumed": True}, {"round": 3, "loss": 8.0}]
    assert [(one["round"], one["loss"]) for one in in_force([*lines, *again])] == [
        (0, 0),
        (1, 1),
        (2, 9),
        (3, 8),
    ]


def test_norms_of_several_nodes_are_weighted_by_their_speakers(run, tmp_path):
    folder = RunFolder(copied(run, tmp_path / "runs"))
    plant_norms(folder, TENSORS)
    norms = UpdateNorms.of(folder)
    assert norms.norms == ((2.0, 3.0),) * 2 and norms.mean == (2.0, 3.0)


def test_bounds_and_noise_are_those_of_the_plan(run, tmp_path):
    facts = RunFacts.of(run)
    with_all = TensorBounds.of(facts, TENSORS)
    section, plan = facts.config.privacy, facts.plan
    assert sum(one**2 for one in with_all.bounds) == pytest.approx(0.99 * section.clip_bound**2)
    scale = plan.sigma_dp * section.clip_bound
    assert with_all.noise == pytest.approx([scale * size**0.5 for size in with_all.sizes])
    large = with_all.signal_to_noise([1e9, 0.0])
    assert large == pytest.approx([with_all.bounds[0] / with_all.noise[0], 0.0])
    assert TensorBounds.of(facts, ("not there",)) is None


def test_traffic_counts_a_round_once_after_a_resumption(run, tmp_path):
    folder = RunFolder(copied(run, tmp_path / "runs"))
    plant_traffic(folder)
    once = Traffic.of(folder)
    folder.traffic.write_text(2 * folder.traffic.read_text())
    assert Traffic.of(folder) == once and once.total("drawn") == 2 * 7137


def test_much_is_thinned_and_the_ends_stay():
    lines = [{"round": n, "wer": 1 / (n + 1)} for n in range(2001)]
    found = points(lines, "round", "wer")
    assert len(found) == MOST_POINTS and found[0] == [0, 1.0] and found[-1][0] == 2000
    norms = UpdateNorms(
        tensors=tuple(f"t{n}" for n in range(700)),
        rounds=tuple(range(1, 2001)),
        norms=tuple((float(n),) * 700 for n in range(2000)),
    )
    heat = heat_map(norms, None)
    assert (
        len(heat["columns"]) <= MOST_COLUMNS and heat["columns"][0][0] == 1 and heat["columns"][-1][1] == 2000
    )
    assert len(heat["rows"]) == len(heat["values"]) <= 320 and heat["rows"][0] == "t0 to t2"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("no JSON", "is no JSON"),
        ("{}", "has no error rates of a model"),
        ('{"wer": {}, "model": "/usr/model.safetensors"}', "has no error rates of a model with warnings"),
        ('{"wer": {}, "warnings": [], "model": "/usr/model"}', "which none of these runs made"),
        ('{"wer": {}, "warnings": [], "model": "/gone/model"}', "which none of these runs made"),
        ('{"wer": {}, "warnings": [], "model": "/gone/model", "run": "ab"}', "which none of these runs made"),
        (None, "cannot be read"),
    ],
)
def test_an_evaluation_that_cannot_be_used_is_refused_by_name(run, tmp_path, content, says):
    file = tmp_path / "evaluation.json"
    if content is not None:
        file.write_text(content)
    done = report(run, "--evaluation", file, "-o", tmp_path / "page.html")
    assert done.exit_code == 2 and says in done.output
    assert not (tmp_path / "page.html").exists()


def test_what_is_no_run_folder_is_refused(tmp_path):
    done = report(tmp_path, "-o", tmp_path / "page.html")
    assert done.exit_code == 2 and f"{tmp_path} is not the folder of a run that began" in done.output
    done = report(tmp_path, "-o", tmp_path / "missing" / "page.html")
    assert done.exit_code == 2 and "there is no folder" in done.output


def test_the_page_names_the_release_that_made_the_run(run):
    assert RunFacts.of(run).release and "# release: " in Path(run / "config.toml").read_text()
