import json

from server.report.metrics_lines import MetricsLine, read_metrics
from tests.corpora import make_corpus
from tests.server.in_process import SPEAKERS, federate, recipe

SECRETS = {
    "drawn",
    "nodes_asked",
    "nodes_answered",
    "dropped",
    "bytes_down",
    "bytes_up",
    "traffic",
    "node",
    "seconds",
}


def test_how_many_were_drawn_stays_with_the_server(tmp_path, monkeypatch):
    """Amplification by sampling is that of a secret cohort, and bytes and nodes tell its size."""
    monkeypatch.setenv("MURMUR_HOME", str(tmp_path))
    corpus = make_corpus(tmp_path / "corpus", {"test": 1}, utterances=1)
    cohort = float(sum(SPEAKERS))  # everyone is drawn in every round
    folder = federate(recipe(corpus, **{"training.rounds": 2, "training.cohort": cohort}))
    for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()):
        assert not SECRETS & set(line)
        assert set(line) <= set(MetricsLine.model_fields) and line["version"] == 1
    assert [line.round for line in read_metrics(folder)] == [0, 1, 2]
    note, *lines = map(json.loads, (folder / "traffic.jsonl").read_text().splitlines())
    assert "keep this file" in note["keep_secret"]
    rounds = [line for line in lines if "drawn" in line]
    assert [(line["round"], line["drawn"], line["nodes_answered"]) for line in rounds] == [
        (number, cohort, len(SPEAKERS)) for number in (1, 2)
    ]
    for line in rounds:
        own = [one for one in lines if one["round"] == line["round"] and "node" in one]
        assert len(own) == len(SPEAKERS)
        for name in ("bytes_down", "bytes_up"):
            assert line[name] == sum(one[name] for one in own)
    assert rounds[0]["bytes_up"] < 0.6 * rounds[0]["bytes_down"]
    total = sum(line["bytes_up"] for line in rounds)
    assert f"{total / 1e6:,.1f} MB of update sums back" in (folder / "summary.txt").read_text()
    for published in ("card.md", "evaluation.json"):
        text = (folder / published).read_text()
        assert "MB" not in text and "answered" not in text
