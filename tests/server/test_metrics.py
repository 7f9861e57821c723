import json

from tests.corpora import make_corpus
from tests.server.in_process import SPEAKERS, federate, recipe


def test_metrics_hold_the_bytes_of_a_round_and_the_nodes_bytes_stay_with_the_server(tmp_path, monkeypatch):
    monkeypatch.setenv("MURMUR_HOME", str(tmp_path))
    corpus = make_corpus(tmp_path / "corpus", {"test": 1}, utterances=1)
    cohort = float(sum(SPEAKERS))  # everyone is drawn in every round
    folder = federate(recipe(corpus, **{"training.rounds": 2, "training.cohort": cohort}))
    start, *rounds = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    note, *by_node = map(json.loads, (folder / "traffic.jsonl").read_text().splitlines())
    assert "bytes_up" not in start
    assert "keep_secret" in note
    for line in rounds:
        assert "traffic" not in line
        own = [one for one in by_node if one["round"] == line["round"]]
        assert len(own) == len(SPEAKERS)
        for name in ("bytes_down", "bytes_up"):
            assert line[name] == sum(one[name] for one in own)
    assert rounds[0]["bytes_up"] < 0.6 * rounds[0]["bytes_down"]
    total = sum(line["bytes_up"] for line in rounds)
    assert f"{total / 1e6:,.1f} MB of sums back" in (folder / "summary.txt").read_text()
