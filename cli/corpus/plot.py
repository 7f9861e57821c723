"""The picture of `murmur corpus describe --plot`: how the speech of each split lies on its speakers."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot

from speech.corpora.corpus import Corpus
from speech.corpora.statistics import minutes_per_speaker


def plot_speakers(corpus: Corpus, file: Path) -> None:
    """A histogram a split of minutes per speaker; logarithmic where the most have far more than the rest."""
    splits = {split: minutes_per_speaker(corpus, split) for split in corpus.splits}
    figure, axes = pyplot.subplots(
        len(splits), 1, figsize=(8, 1 + 1.8 * len(splits)), squeeze=False, sharex=True, layout="constrained"
    )
    least = min(minutes.min() for minutes in splits.values())
    most = max(minutes.max() for minutes in splits.values())
    logarithmic = least > 0 and most > 20 * least
    bins = np.geomspace(least, most, 40) if logarithmic else np.linspace(0, most or 1, 40)
    for axis, (split, minutes) in zip(axes[:, 0], splits.items(), strict=True):
        axis.hist(minutes, bins=bins, color="#3b6ea5")
        axis.set_ylabel("speakers")
        axis.yaxis.get_major_locator().set_params(integer=True)
        axis.set_title(
            f"{split}: {len(minutes):,} speakers, {minutes.sum() / 60:.2f} h", loc="left", fontsize=10
        )
    if logarithmic:
        axes[-1, 0].set_xscale("log")
    axes[-1, 0].set_xlabel("minutes of speech per speaker")
    figure.suptitle(corpus.name, fontsize=10)
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
