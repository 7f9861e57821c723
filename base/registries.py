"""All registries: the names that a recipe can use. To add one of ours, write a module and a line here.

Other packages add theirs by entry points, in the groups named here. docs/extend.md has a table of them, with
worked examples.
"""

from __future__ import annotations

from base.registry import Registry

CLIP_RULES = Registry(
    "clip rule",
    "murmuration.clip_rules",
    {
        "global": "privacy.clipping.rules:one_slice",
        "uniform": "privacy.clipping.rules:uniform",
        "dim": "privacy.clipping.rules:by_dimension",
        "power": "privacy.clipping.rules:by_power_of_dimension",
    },
)

NOISE_SHAPES = Registry(
    "noise shape",
    "murmuration.noise_shapes",
    {
        "isotropic": "privacy.noise.shape:isotropic",
        "variance-optimal": "privacy.noise.shape:variance_optimal",
    },
)

SERVER_OPTIMISERS = Registry(
    "server optimiser",
    "murmuration.server_optimisers",
    {
        "adam": "optim.adaptive:Adam",
        "yogi": "optim.adaptive:Yogi",
        "adagrad": "optim.adaptive:AdaGrad",
        "lamb": "optim.layerwise:LAMB",
        "lars": "optim.layerwise:LARS",
        "sgd": "optim.momentum:SGD",
    },
)

SCHEDULES = Registry(
    "schedule",
    "murmuration.schedules",
    {
        "constant": "optim.schedules:flat",
        "exponential": "optim.schedules:exponential",
        "step": "optim.schedules:step",
        "cosine": "optim.schedules:cosine",
        "half-cosine": "optim.schedules:half_cosine",
    },
)

CORPUS_KINDS = Registry(
    "corpus kind",
    "murmuration.corpus_kinds",
    {
        kind: f"speech.corpora.kinds.{kind}:load"
        for kind in (
            *("commonvoice", "embedded", "huggingface", "librispeech", "manifest", "speechocean762"),
            "synthetic",
        )
    },
)

LOCAL_ALGORITHMS = Registry(
    "local algorithm",
    "murmuration.local_algorithms",
    {
        "fedavg": "client.training.algorithms:PlainSGD",
        "fedprox": "client.training.algorithms:FedProx",
        "scaffold": "client.training.algorithms:Scaffold",
    },
)
MODEL_PRESETS = Registry(
    "model preset",
    "murmuration.model_presets",
    {
        "tiny": "speech.model.presets:TINY",
        "tiny-6": "speech.model.presets:TINY_6",
        "tiny-12": "speech.model.presets:TINY_12",
        "tiny-24": "speech.model.presets:TINY_24",
        "small": "speech.model.presets:SMALL",
        "conformer": "speech.model.presets:CONFORMER",
        "paper": "speech.model.presets:PAPER",
        "paper-post-norm": "speech.model.presets:PAPER_POST_NORM",
        "paper-narrow": "speech.model.presets:PAPER_NARROW",
        "paper-shallow": "speech.model.presets:PAPER_SHALLOW",
        "paper-wide": "speech.model.presets:PAPER_WIDE",
        "paper-deep": "speech.model.presets:PAPER_DEEP",
    },
)

MODEL_FAMILIES = Registry(
    "model family",
    "murmuration.model_families",
    {
        "ctc": "speech.pretrained.ctc:PretrainedCTC",
        "seq2seq": "speech.pretrained.seq2seq:PretrainedSeq2Seq",
        "whisper": "speech.pretrained.whisper:Whisper",
    },
)

LANGUAGES = Registry(
    "language",
    "murmuration.languages",
    {"en": "speech.text:ENGLISH", "fr": "speech.text:FRENCH", "de": "speech.text:GERMAN"},
)
