from dataclasses import replace

import pytest
import torch

from base.clip_groups import ClipGroups
from base.registries import MODEL_PRESETS
from cli.composing import default_config
from client.training.local_training import LocalTrainer
from client.training.model import model_to_train
from client.training.speaker_round import SpeakerRound
from recipes import RunConfig
from speech.data.batching import collate
from speech.features.spec_augment import SpecAugment
from speech.model.ctc_transformer import build_model
from speech.text import ENGLISH
from strategies import bind

TURN = SpeakerRound(run="a", round_number=1, speaker="s")
OTHER = SpeakerRound(run="a", round_number=1, speaker="t")


def settings(**changes):
    flat = {**default_config(), **{f"local.{key.replace('_', '-')}": v for key, v in changes.items()}}
    if changes.get("algorithm") == "scaffold":
        flat["privacy.noise-multiplier"] = 0.0
    return RunConfig.from_flat(flat).local


@pytest.fixture(scope="module")
def start():
    torch.manual_seed(0)
    _, vector = bind(build_model("tiny"))
    return vector


def test_the_update_is_old_minus_new_and_leaves_the_global_model_alone(examples, start):
    before = start.clone()
    trainer = LocalTrainer(build_model("tiny"), settings(epochs=1))
    update, report = trainer.update(start, examples, TURN)
    assert torch.equal(start, before)
    assert torch.equal(update, start - trainer._vector)
    assert update.abs().max() > 0
    assert report.loss > 0 and report.steps == 2


def test_training_on_a_speaker_lowers_its_loss(examples, start):
    trainer = LocalTrainer(build_model("tiny"), settings(epochs=1))
    vector = start.clone()
    losses = []
    for round_number in range(8):
        update, report = trainer.update(vector, examples, replace(TURN, round_number=round_number))
        vector -= update
        losses.append(report.loss)
    assert losses[-1] < 0.7 * losses[0]


def test_with_clip_groups_the_update_is_the_same_in_another_order(examples, start):
    groups = ClipGroups.read("*.bias=0.1,output.*=0.2,*=0.7")
    plain = LocalTrainer(build_model("tiny"), settings())
    grouped = LocalTrainer(build_model("tiny"), settings(), clip_groups=groups)
    assert plain.layout.names != grouped.layout.names
    expected = plain.layout.views(plain.update(start, examples, TURN)[0])
    views = plain.layout.views(start)
    ordered = torch.cat([views[name].flatten() for name in grouped.layout.names])
    found = grouped.layout.views(grouped.update(ordered, examples, TURN)[0])
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-6)


def test_nothing_of_a_speaker_is_left_for_the_next(examples, start):
    trainer = LocalTrainer(build_model("tiny"), settings(epochs=1))
    first = trainer.update(start, examples, TURN)[0].clone()
    trainer.update(start, examples[:2], OTHER)
    assert torch.equal(trainer.update(start, examples, TURN)[0], first)


def test_steps_are_batches_looped_as_needed(examples, start):
    trainer = LocalTrainer(build_model("tiny"), settings(epochs=0, steps=5, batch_size=4))
    assert len(list(trainer._batches(examples, torch.Generator()))) == 5
    one_pass = LocalTrainer(build_model("tiny"), settings(epochs=2, steps=0, batch_size=4))
    batches = one_pass._batches(examples, torch.Generator())
    assert sorted(index for batch in batches for index in batch) == sorted([*range(7)] * 2)


def test_a_speaker_with_less_than_a_batch_loops_it(examples, start):
    """The paper's local work: 10 steps of 120 s of audio each, from however little a speaker has."""
    trainer = LocalTrainer(
        build_model("tiny"), settings(epochs=0, steps=10, batch_size=0, batch_seconds=120.0)
    )
    batches = list(trainer._batches(examples, torch.Generator()))
    assert len(batches) == 10 and all(sorted(batch) == list(range(7)) for batch in batches)
    frames = [len(example.features) for example in examples]
    half = LocalTrainer(
        build_model("tiny"), settings(epochs=1, steps=0, batch_size=0, batch_seconds=0.01 * sum(frames) / 2)
    )
    assert 2 <= len(list(half._batches(examples, torch.Generator()))) <= 4
    update, _ = half.update(start, examples, TURN)
    assert update.abs().max() > 0


def test_a_step_moves_by_at_most_rate_times_gradient_clip(examples, start):
    trainer = LocalTrainer(
        build_model("tiny"), settings(epochs=0, steps=1, gradient_clip=1.0, learning_rate=0.3)
    )
    update, _ = trainer.update(start, examples, TURN)
    assert float(update.norm()) == pytest.approx(0.3, rel=1e-4)


def test_a_correction_is_added_to_the_clipped_gradient(examples, start):
    """Not before the clip: the control variates must be means of what the steps really were."""
    step = {"epochs": 0, "steps": 1, "gradient_clip": 0.5, "learning_rate": 0.1}
    plain, _ = LocalTrainer(build_model("tiny"), settings(**step)).update(start, examples, TURN)
    correction = torch.linspace(-1, 1, start.numel())
    scaffold = LocalTrainer(build_model("tiny"), settings(**step, algorithm="scaffold"))
    corrected, _ = scaffold.update(start, examples, TURN, correction)
    torch.testing.assert_close(corrected, plain + 0.1 * correction, rtol=0, atol=1e-6)


def test_an_update_goes_to_the_memory_that_is_given_and_leaves_what_is_behind_it(examples, start):
    memory = torch.zeros(start.numel() + 2)
    update, _ = LocalTrainer(build_model("tiny"), settings(), memory=memory).update(start, examples, TURN)
    assert update.data_ptr() == memory.data_ptr() and update.shape == memory.shape
    assert memory[-2:].tolist() == [0.0, 0.0]


def by_torch(make, examples, start, chosen):
    """The update by torch's own optimiser, autograd and clipping, in the batches of the trainer."""
    model = build_model("tiny").train()
    _, vector = bind(model)
    vector.copy_(start)
    optimiser = make(model.parameters())
    origin = [parameter.detach().clone() for parameter in model.parameters()]
    batches = LocalTrainer(build_model("tiny"), chosen)._batches(examples, TURN.generator("training"))
    for batch in batches:
        optimiser.zero_grad(set_to_none=False)
        distance = sum((p - o).square().sum() for p, o in zip(model.parameters(), origin, strict=True))
        loss = model.objective(collate([examples[index] for index in batch]))
        (loss + chosen.proximal_mu / 2 * distance).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), chosen.gradient_clip)
        optimiser.step()
    return start - vector


LOCAL = {
    "sgd": ({}, lambda p: torch.optim.SGD(p, lr=0.01)),
    "momentum": ({"momentum": 0.9}, lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)),
    "adam": (
        {"optimiser": "adam", "learning_rate": 1e-3, "epsilon": 1e-4},
        lambda p: torch.optim.Adam(p, lr=1e-3, betas=(0.9, 0.999), eps=1e-4),
    ),
    "fedprox": ({"algorithm": "fedprox", "proximal_mu": 2.0}, lambda p: torch.optim.SGD(p, lr=0.01)),
    "fedprox, clipped": (
        {"algorithm": "fedprox", "proximal_mu": 20.0, "gradient_clip": 0.1},
        lambda p: torch.optim.SGD(p, lr=0.01),
    ),
}


@pytest.mark.parametrize("case", LOCAL)
def test_it_trains_as_torchs_optimiser_would(examples, start, case):
    changes, make = LOCAL[case]
    usual = {
        "learning_rate": 0.01,
        "epochs": 2,
        "batch_size": 3,
        "spec_augment": False,
        "gradient_clip": 100.0,
    }
    chosen = settings(**{**usual, **changes})
    update, _ = LocalTrainer(build_model("tiny"), chosen).update(start, examples, TURN)
    theirs = by_torch(make, examples, start, chosen)
    assert float((update - theirs).norm()) < 1e-3 * float(theirs.norm())


@pytest.mark.parametrize("changes", [{"momentum": 0.9}, {"optimiser": "adam"}])
def test_a_local_optimiser_carries_nothing_to_the_next_speaker(examples, start, changes):
    trainer = LocalTrainer(build_model("tiny"), settings(epochs=1, **changes))
    first = trainer.update(start, examples, TURN)[0].clone()
    trainer.update(start, examples[:2], OTHER)
    assert torch.equal(trainer.update(start, examples, TURN)[0], first)


def test_fedprox_keeps_the_speaker_near_the_rounds_model(examples, start):
    moved = []
    for changes in ({}, {"algorithm": "fedprox", "proximal_mu": 30.0}):
        trainer = LocalTrainer(
            build_model("tiny"), settings(epochs=4, learning_rate=0.01, gradient_clip=100.0, **changes)
        )
        moved.append(float(trainer.update(start, examples, TURN)[0].norm()))
    assert moved[1] < 0.8 * moved[0]


def test_what_is_dropped_is_fixed_by_the_order_and_nothing_else_is_disturbed(examples, start):
    trainer = LocalTrainer(build_model("tiny", dropout=0.2, layer_drop=0.3), settings())
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = trainer.update(start, examples, TURN)[0].clone()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(trainer.update(start, examples, TURN)[0], first)
    assert not torch.equal(trainer.update(start, examples, replace(TURN, round_number=2))[0], first)


def masks(examples, start, monkeypatch, round_number=1, **changes):
    """The masks of every batch that a trainer hides something of."""
    seen = []
    draw = SpecAugment.__call__
    monkeypatch.setattr(SpecAugment, "__call__", lambda self, *rest: seen.append(self) or draw(self, *rest))
    turn = replace(TURN, round_number=round_number)
    LocalTrainer(build_model("tiny"), settings(**changes)).update(start, examples, turn)
    return seen


def test_dropout_layer_drop_and_masks_are_settings(examples, start, monkeypatch):
    section = RunConfig.from_flat(default_config()).model
    config = model_to_train(section, settings(dropout=0.2, layer_drop=0.3), ENGLISH).config
    assert (config.dropout, config.layer_drop) == (0.2, 0.3)
    assert model_to_train(section, settings(), ENGLISH).config == MODEL_PRESETS["tiny"].shape
    changed = masks(examples, start, monkeypatch, time_masks=10, time_width=50, freq_width=30)
    assert set(changed) == {SpecAugment(freq_masks=2, freq_width=30, time_masks=10, time_width=50)}
    assert set(masks(examples, start, monkeypatch)) == {SpecAugment()}
    assert not masks(examples, start, monkeypatch, spec_augment=False)


def test_masks_begin_after_so_many_rounds(examples, start, monkeypatch):
    assert not masks(examples, start, monkeypatch, round_number=3, spec_augment_after=3)
    assert masks(examples, start, monkeypatch, round_number=4, spec_augment_after=3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
@pytest.mark.parametrize("changes", [{}, {"algorithm": "fedprox", "proximal_mu": 2.0}])
def test_a_gpu_gives_the_update_of_the_cpu(examples, start, changes):
    chosen = settings(learning_rate=0.01, spec_augment=False, **changes)
    here = LocalTrainer(build_model("tiny"), chosen, device="cpu").update(start, examples, TURN)[0]
    there = LocalTrainer(build_model("tiny"), chosen, device="cuda").update(start, examples, TURN)[0]
    assert there.device.type == "cpu"
    torch.testing.assert_close(there, here, atol=1e-4, rtol=1e-2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
@pytest.mark.parametrize("changes", [{"precision": "bfloat16"}, {"precision": "bfloat16", "compile": True}])
def test_bfloat16_and_compiled_blocks_learn_the_same_on_a_gpu(examples, start, changes):
    plain = LocalTrainer(build_model("tiny"), settings(learning_rate=0.01), device="cuda")
    chosen = settings(learning_rate=0.01).model_copy(update=changes)  # a private run compiles nothing
    other = LocalTrainer(build_model("tiny"), chosen, device="cuda")
    expected, found = (one.update(start, examples, TURN)[0].clone() for one in (plain, other))
    assert float((found - expected).norm()) < 0.1 * float(expected.norm())
