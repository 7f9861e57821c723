"""recipes/run/adapt.toml trains every kind of model, and its name is all that changes."""

import pytest
import torch

from cli.composing import default_config, read_recipe
from client.training.local_training import LocalTrainer
from client.training.model import model_to_train
from client.training.speaker_round import SpeakerRound
from recipes import RunConfig, checkout
from speech.model.checks import require_sound
from speech.text import ENGLISH
from tests.pretrained_models import ARCHITECTURES, examples_of, tiny_model

HEADS = {"whisper": "proj_out", "moonshine": "proj_out", "parakeet": "ctc_head", "small": "output"}
BYPASSED = "wavlm"  # its attention takes the weights of its layers and leaves their forward pass out
NAMES = ["small", *(name for name in ARCHITECTURES if name != BYPASSED)]


def config_for(name, tmp_path):
    recipe = {**default_config(), **read_recipe(checkout() / "recipes" / "run" / "adapt.toml")}
    model = name if name == "small" else str(tiny_model(name, tmp_path / name))
    return RunConfig.from_flat({**recipe, "corpus.path": str(tmp_path), "model.name": model})


@pytest.mark.parametrize("name", NAMES)
def test_a_client_trains_the_adapters_of_every_layer_but_the_head(name, tmp_path):
    config = config_for(name, tmp_path)
    model = model_to_train(config.model, config.local, ENGLISH)
    trained = {key for key, value in model.named_parameters() if value.requires_grad}
    assert trained and all(key.endswith(".lora_B") for key in trained)
    head = HEADS.get(name, "lm_head")
    bare = {key for key, one in model.named_modules() if type(one) is torch.nn.Linear}
    assert {key.rpartition(".")[2] for key in bare} <= {head}
    assert not any(head in key for key in trained)
    require_sound(model, trainable=config.model.trainable, longest_seconds=2.0)
    trainer = LocalTrainer(model, config.local)
    turn = SpeakerRound(run="a", round_number=1, speaker="s")
    update, report = trainer.update(trainer._vector.clone(), examples_of(model), turn)
    moved = trainer.layout.views(update[: trainer.layout.size])
    assert report.loss > 0 and {key for key, one in moved.items() if one.abs().max() > 0} == trained
