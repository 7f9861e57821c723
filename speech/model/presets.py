"""Model presets: shape, features and augmentation of a model under one name.

`paper` is the encoder of arXiv 2310.00098 (App. F). Beside it stand its ablations, the post-LN model (Table
7) and other sizes (H.7). All of them follow the authors' release, apple/ml-pfl4asr; docs/models.md has a
table of that. `tiny` and `small` train in minutes on one CPU core; `tiny-6`, `-12` and `-24` are `tiny` with
more blocks, for `murmur paper small`. `conformer` has another block.

Recipes and model files name a preset; `base.registries.MODEL_PRESETS` finds it.
"""

from dataclasses import dataclass, replace

from speech.features.log_mel import FeatureConfig
from speech.features.spec_augment import SpecAugment
from speech.model.config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The shape of a model, the features that it takes and the masks that it is trained with.

    `earlier_features` are those that model files of this preset may have from earlier releases.

    Raises:
        ValueError: If the shape and the features disagree.

    Example:
        >>> from base.registries import MODEL_PRESETS
        >>> tiny = MODEL_PRESETS["tiny"]
        >>> tiny.shape.num_mels, tiny.features.num_mels, tiny.augment.time_masks
        (40, 40, 2)
    """

    shape: ModelConfig
    features: FeatureConfig
    augment: SpecAugment
    earlier_features: tuple[FeatureConfig, ...] = ()

    def __post_init__(self) -> None:
        for mine, name, theirs in (
            (self.shape.num_mels, "num_mels", self.features.num_mels),
            (self.shape.frame_seconds, "frame_seconds", self.features.hop_seconds),
        ):
            if mine != theirs:
                raise ValueError(f"a preset's shape has {name}={mine}, and its features give {theirs}.")


_SMALL_FEATURES = FeatureConfig(num_mels=40)
# arXiv 2310.00098, App. F: 16-bit scale, pre-emphasis 0.97, Hamming, magnitude, floor 1.
_CENTRED_FEATURES = FeatureConfig(
    num_mels=80,
    window="hamming",
    gain=32_768.0,
    pre_emphasis=0.97,
    power=1,
    floor=1.0,
    normalise="utterance",
)
# As the authors' release computes them.
_PAPER_FEATURES = replace(_CENTRED_FEATURES, window="symmetric hamming", framing="whole")
_WIDE_MASKS = SpecAugment(freq_width=30, time_masks=10, time_width=50)  # arXiv 2310.00098, App. F
_PAPER_MASKS = replace(_WIDE_MASKS, ends="excluded")  # as the authors' release draws them

TINY = Preset(
    shape=ModelConfig(
        num_mels=40,
        width=96,
        heads=4,
        feed_forward=384,
        layers=3,
        kernel=9,
        stride=4,
        frontend="relu",
        positions="conv",
    ),
    features=_SMALL_FEATURES,
    augment=SpecAugment(),
)
TINY_6, TINY_12, TINY_24 = (replace(TINY, shape=replace(TINY.shape, layers=n)) for n in (6, 12, 24))
SMALL = replace(TINY, shape=replace(TINY.shape, width=192, feed_forward=768, layers=6))

PAPER = Preset(
    shape=ModelConfig(
        num_mels=80,
        width=768,
        heads=4,
        feed_forward=3072,
        layers=36,
        kernel=7,
        stride=3,
        frontend="glu",
        positions="cape",
        input_norm=True,
        dropout=0.3,
        layer_drop=0.3,
        drop_outputs=False,
        norms_when_dropped=True,
        zero_biases=False,
    ),
    features=_PAPER_FEATURES,
    augment=_PAPER_MASKS,
    earlier_features=(_CENTRED_FEATURES,),
)
PAPER_POST_NORM = replace(PAPER, shape=replace(PAPER.shape, norm="post"))
_SIZED = replace(PAPER.shape, layer_drop=0.1)
PAPER_NARROW = replace(PAPER, shape=replace(_SIZED, width=512, feed_forward=2048))
PAPER_SHALLOW = replace(PAPER, shape=replace(_SIZED, layers=16))
PAPER_WIDE = replace(PAPER, shape=replace(_SIZED, width=1024, feed_forward=4096))
PAPER_DEEP = replace(PAPER, shape=replace(_SIZED, layers=72))

CONFORMER = Preset(
    shape=replace(  # the blocks of Gulati's Conformer (S), not of the release, which has none
        PAPER.shape,
        block="conformer",
        width=144,
        feed_forward=576,
        layers=16,
        dropout=0.1,
        layer_drop=0.0,
        drop_outputs=True,
        norms_when_dropped=False,
        zero_biases=True,
    ),
    features=_CENTRED_FEATURES,
    augment=_WIDE_MASKS,
)
