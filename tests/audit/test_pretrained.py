"""The same for pre-trained models: adapters, cached activations, clip groups, masks, and a decoder."""

import pytest

from audit import NEIGHBOURS, Adjacency, check_declared, compare
from tests.audit.stage import DRAWN_IN, ROUNDS, Stage, perform
from tests.pretrained_models import tiny_model

ALWAYS = frozenset(ROUNDS)
UNDRAWN = ALWAYS - set(DRAWN_IN)
RECIPES = {
    "whisper": {
        "model.window": "short",
        "model.adapters": "*.encoder.layers.1.*,*.decoder.*.fc1",
        "model.trainable": "adapters",
        "model.cache-frozen": True,
        "privacy.clip-groups": "*.encoder.*=0.2,*=0.8",
        "corpus.max-seconds": 4.0,
        "local.spec-augment": False,
    },
    "parakeet": {
        "model.adapters": "*.v_proj,*.pointwise_conv1",
        "model.trainable": "adapters,*.ctc_head.*",
        "model.head": "characters",
        "local.layer-drop": 0.2,
    },
    "wav2vec2-group-norm": {
        "model.trainable": "base.wav2vec2.encoder.layers.*,base.lm_head.*",
        "model.cache-frozen": True,
        "local.layer-drop": 0.2,
    },
}
CHANGED = {"parakeet": {"subsampling_factor": 4}}  # a letter of a tone is 6 frames long
KINDS = (
    "ordinary speech",
    "sound of infinity",
    "sound of 1e30",
    "one sample",
    "a transcript of 100,000 letters",
    "an odd sample rate",
    "a decoder that exits",
)


@pytest.fixture(autouse=True, scope="module")
def _short_warm_up():
    """What a speaker process trains on before its first speaker is as long as the longest utterance."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("client.training.speaker_training.NOISE_SECONDS", 4)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs of a stage, each done once; those of a recipe replay its run with nobody's speech."""
    done, folders = {}, {}

    def of(name, **changes):
        if name not in folders:
            folders[name] = tiny_model(name, tmp_path_factory.mktemp(name), **CHANGED.get(name, {}))
        recipe = {"model.name": str(folders[name]), "model.seed": "base", "local.processor-seconds": 20.0}
        recipe |= {"local.memory-megabytes": 1024, **RECIPES[name]}
        stage = Stage(recipe=tuple(sorted(recipe.items())), **changes)
        nobody = Stage(recipe=stage.recipe)
        for one in (nobody, stage):
            if one not in done:
                frozen = done[nobody].trace if one != nobody else None
                done[one] = perform(one, tmp_path_factory.mktemp("stage"), frozen)
        return done[nobody], done[stage]

    return of


def moved(recorded, replayed):
    pairs = zip(recorded.trace.queries, replayed.trace.queries, strict=True)
    return [
        float(((one.steps - other.steps).astype(float) ** 2).sum() ** 0.5) / 2**one.quantiser.bits
        for one, other in pairs
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_a_person_who_reaches_the_bound_is_seen(run, name):
    recorded, replayed = run(name, kind="ordinary speech")
    assert check_declared(recorded.trace, recorded.plan) == []
    first, second, third = moved(recorded, replayed)
    assert 0.95 < first <= 1 and 0.95 < third <= 1  # not every tensor reaches its own bound
    assert second == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RECIPES)
def test_whatever_a_person_says_moves_the_sum_by_at_most_c_and_nothing_else(run, name, kind):
    recorded, replayed = run(name, kind=kind)
    neighbour = NEIGHBOURS[kind]
    equal_rounds = ALWAYS if neighbour.counts_as_zero else UNDRAWN
    found = compare(recorded.trace, replayed.trace, neighbour.adjacency, equal_rounds)
    found += check_declared(replayed.trace, replayed.plan)
    assert not found, "\n".join(map(str, found[:20]))


@pytest.mark.parametrize("name", RECIPES)
def test_a_person_who_is_added_moves_the_sum_by_at_most_c(run, name):
    nobody, somebody = (run(name, person="")[1], run(name, person="a", kind="ordinary speech")[1])
    found = compare(nobody.trace, somebody.trace, Adjacency.ADD_OR_REMOVE, UNDRAWN)
    assert not found, "\n".join(map(str, found[:20]))
