"""A look at a round's mean, and noise on a part of it: what is seen and changed; never in a private run."""

import json
import math

import pytest
import torch

from cli.paper.results.record import Layers, ResultError, read_result, write_result
from cli.paper.results.statistics import Estimate
from cli.paper.small.experiments import read_study
from cli.paper.small.figures import Drawn
from cli.paper.small.inside import GROUPS, GroupNoise, Probe, group_of, signal_to_noise
from cli.paper.small.layers import norms_by_group, smoother_is_better, smoothness_table
from privacy import LayerLayout
from recipes import ConfigError
from speech.model.ctc_transformer import build_model
from tests.cli.paper.results.made import made
from tests.cli.paper.small.toy import STUDY, study_file

LAYOUT = LayerLayout.of({"blocks.0.w1.weight": (3,), "output.bias": (4,)})


def test_every_tensor_of_the_presets_is_in_a_group_and_every_group_has_one():
    for preset in ("tiny", "tiny-12"):
        assert {group_of(name) for name, _ in build_model(preset).named_parameters()} == set(GROUPS)


def test_a_probe_measures_norms_and_the_smoothness_of_the_path():
    """On a quadratic with curvature 2, each change of the gradient is twice that of the model."""
    probe, vector = Probe(layout=LAYOUT), torch.arange(7.0)
    for number in (1, 2, 3):
        mean = 2 * vector
        probe(number, mean, vector)
        vector -= 0.1 * mean  # in place, as a server step
    raw = [{"not_private": "-"}, *({"round": number, "update_norms": [1.0, 2.0]} for number in (1, 3))]
    layers = probe.layers([*raw, {"round": 2, "update_norms": []}])
    assert layers.smoothness == pytest.approx((2.0, 2.0), rel=1e-4)
    assert (layers.rounds, layers.sizes) == ((1, 3), (3, 4))
    assert layers.mean_norms[0] == pytest.approx((2 * 5**0.5, 2 * 86**0.5), rel=1e-4)
    assert norms_by_group([layers, layers]) == {"feed-forward": {1: 1.0, 3: 1.0}, "head": {1: 2.0, 3: 2.0}}


def test_signal_to_noise_is_over_the_norm_that_noise_has_on_the_tensor():
    layers = Layers(
        tensors=LAYOUT.names,
        sizes=LAYOUT.sizes,
        rounds=(1, 2),
        update_norms=((0.0, 0.0),) * 2,
        mean_norms=((3.0, 1.0), (1.0, 3.0)),
        smoothness=(),
    )
    assert signal_to_noise(layers, 0.5) == pytest.approx([2 / (0.5 * math.sqrt(3)), 2.0])


@pytest.mark.parametrize(("group", "noisy"), [("all", (0, 7)), ("head", (3, 7)), ("none", (0, 0))])
def test_noise_is_on_its_group_alone(group, noisy):
    mean = torch.zeros(7)
    GroupNoise(layout=LAYOUT, group=group, std=1.0)(1, mean, mean)
    begin, end = noisy
    assert mean[begin:end].all() and not mean[:begin].any() and not mean[end:].any()


def test_the_layers_of_a_result_come_back_and_those_without_have_no_field(tmp_path):
    layers = {"tensors": ["a"], "sizes": [3], "rounds": [1], "mean_norms": [[0.5]], "smoothness": []}
    result = made(layers=Layers.model_validate_json(json.dumps({**layers, "update_norms": [[1.0]]})))
    write_result(tmp_path / "one.json", result)
    assert read_result(tmp_path / "one.json") == result
    write_result(tmp_path / "none.json", made())
    assert "layers" not in (tmp_path / "none.json").read_text()
    assert read_result(tmp_path / "none.json").layers is None
    text = (tmp_path / "one.json").read_text()
    (tmp_path / "one.json").write_text(text.replace('"rounds": [\n   1', '"rounds": [\n   1,\n   2'))
    with pytest.raises(ResultError, match="update_norms needs 1 numbers for each of 2 rounds"):
        read_result(tmp_path / "one.json")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('"study.look-inside" = true', "study.look-inside with privacy.noise-multiplier"),
        ('"study.noise-on" = "all", "study.noise" = 1.0', "it is for runs without privacy"),
        ('"study.look" = true', "no setting 'study.look'"),
    ],
)
def test_a_private_run_is_neither_looked_into_nor_changed(tmp_path, settings, words):
    text = STUDY.replace('settings = { "privacy.clip-bound" = 0.1 }', f"settings = {{ {settings} }}")
    with pytest.raises(ConfigError, match=words):
        read_study(study_file(tmp_path, text))


def test_a_run_that_is_private_by_default_is_not_looked_into(tmp_path):
    """No setting of the file names the noise: it is that of `murmur run`."""
    look = 'start = "random"\nsettings = { "study.look-inside" = true }'
    text = STUDY.replace('start = "random"', look)
    read_study(study_file(tmp_path, text))
    text = text.replace("privacy.noise-multiplier = 0.0\n", "")
    with pytest.raises(ConfigError, match=r"look-inside with privacy.noise-multiplier = 0.03"):
        read_study(study_file(tmp_path, text))


def test_the_table_of_smoothness_is_sorted_and_says_whether_it_goes_with_wer():
    steps = {"smooth/iid/sgd": (3.0, 5.0), "smooth/iid/adam": (1.0, 1.0), "smooth/iid/lamb": (2.0, 2.0)}
    rates = {"smooth/iid/sgd": 0.4, "smooth/iid/adam": 0.3, "smooth/iid/lamb": 0.2}
    cells, names = read_study(full=True).cells, {"tensors": (), "sizes": (), "rounds": ()}
    drawn = [
        Drawn(
            cell=cells[name],
            wer=Estimate(value=rates[name], low=0.0, high=1.0),
            results=(made(layers={**names, "update_norms": (), "mean_norms": (), "smoothness": own}),),
        )
        for name, own in steps.items()
    ]
    assert smoothness_table(drawn).splitlines()[2:] == [
        "| smooth/iid/adam | 1 | 1 | 30.0 |",
        "| smooth/iid/lamb | 2 | 2 | 20.0 |",
        "| smooth/iid/sgd | 4 | 4.8 | 40.0 |",
    ]
    assert smoother_is_better(drawn).startswith("In 2 of 3 pairs")
