"""Kind "speechocean762": English read by 250 Mandarin speakers (Zhang et al. 2021, openslr.org/101).

The path is the `speechocean762` folder: `WAVE/` and the Kaldi tables `text`, `utt2spk` and `wav.scp` of
the official splits `train/` and `test/`, whose speakers are disjoint.
"""

from pathlib import Path

from speech.corpora.builder import CorpusBuilder
from speech.corpora.corpus import Corpus, Rules
from speech.corpora.tables import kaldi_table
from speech.errors import CorpusError

SPLITS = ("train", "test")


def load(path: str, rules: Rules) -> Corpus:
    """Load both splits.

    Raises:
        CorpusError: For another folder, or for tables that disagree.
    """
    if not path:
        raise CorpusError("a corpus of kind 'speechocean762' needs a path: the speechocean762 folder.")
    root = Path(path)
    if not (root / "WAVE").is_dir():
        raise CorpusError(f"{root}: has no folder WAVE; give the speechocean762 folder of the archive.")
    builder = CorpusBuilder(name=f"speechocean762 {root}", rules=rules)
    for split in SPLITS:
        _add_split(builder, root, split)
    return builder.corpus()


def _add_split(builder: CorpusBuilder, root: Path, split: str) -> None:
    texts = kaldi_table(root / split / "text")
    speakers = kaldi_table(root / split / "utt2spk")
    files = kaldi_table(root / split / "wav.scp")
    for id, (text, source) in texts.items():
        for name, table in (("utt2spk", speakers), ("wav.scp", files)):
            if not table.get(id, ("", ""))[0]:
                raise CorpusError(f"{source}: utterance {id!r} is not in {root / split / name}.")
        speaker, audio = speakers[id][0], root / files[id][0]
        builder.add_file(id=id, speaker=speaker, split=split, audio=audio, text=text, source=source)
