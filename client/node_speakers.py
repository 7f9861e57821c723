"""The speakers of a node, and what the node reports of them at registration.

`speaker-namespace="..."` in the node's configuration means: an id stands for the same speaker on all nodes
that name this namespace (`wire.pseudonyms`).

Guarantee: speakers who have left (`client.state.departures`) are not counted in new runs, and have no
pseudonym.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from client.node_speech import NodeSpeech
from client.state.departures import Departures
from recipes import WITHOUT_FILES, ConfigError
from speech.corpora.corpus import Corpus
from speech.corpora.speakers import require_one_for_each_node
from wire.node_info import MOST_TOKENS, NodeInfo, portion_of
from wire.pseudonyms import fingerprint, key_of, tokens_of


class NodeSpeakers:
    """The speakers in a node's part of a corpus, with and without those who have left.

    Attributes:
        everybody: All speakers of the node's part of the corpus.
        left: How many speakers had left when this object was made.
        present: `everybody` without those who had left then.
    """

    def __init__(self, node_speech: NodeSpeech, corpus: Corpus, departures: Departures) -> None:
        require_one_for_each_node(corpus, node_speech.split, node_speech.parts)
        self.speech, self.corpus, self.departures = node_speech, corpus, departures
        self.everybody = corpus.speakers(node_speech.split)[node_speech.index :: node_speech.parts]
        self.left = len(departures.entries)  # read once: the record can grow at any moment
        self.present = self.without_first(self.left)

    @property
    def anybody_left(self) -> bool:
        """Whether a speaker of this part of the corpus has left."""
        return len(self.present) < len(self.everybody)

    @property
    def part(self) -> str:
        """A lasting name of this part of the corpus."""
        return f"{self.corpus.digest} {self.portion}"

    @property
    def portion(self) -> str:
        """Which part of the corpus this is."""
        return portion_of(self.speech.split, self.speech.index, self.speech.parts)

    def without_first(self, left: int) -> Sequence[str]:
        """`everybody` without the first `left` speakers who left."""
        return self.departures.without(self.everybody, first=left)

    def departed(self, speakers: Sequence[str]) -> list[int]:
        """The numbers of those of `speakers` who have left."""
        gone = len(speakers) - len(self.departures.without(speakers))
        return [number for number, one in enumerate(speakers) if self.departures.of(one)] if gone else []

    def info(self, counted: Sequence[str]) -> NodeInfo:
        """What the node reports at registration.

        Args:
            counted: The speakers of the run: those who are present, and in a resumed run those who have left
                since it began.

        Raises:
            ConfigError: If there are none.
        """
        if not counted:
            remedy = "stop its SuperNode"
            if self.speech.simulated:
                remedy = f"it has part {self.speech.index} of {self.speech.parts}; simulate fewer nodes"
            raise ConfigError(f"all speakers of this node have left: {remedy}")
        return NodeInfo(
            speakers=len(counted),
            left=len(counted) - len(self.present),
            dataset=self.corpus.digest,
            split=self.speech.split,
            part=self.speech.index,
            parts=self.speech.parts,
            skipped=len(self.corpus.skipped),
            **self._pseudonyms(),
        )

    def _pseudonyms(self) -> dict[str, Any]:
        """Whether the speakers are synthetic; if not, their tokens, unless they are too many."""
        if self.speech.corpus.kind in WITHOUT_FILES:
            return {"synthetic": True}
        if len(self.present) > MOST_TOKENS:
            return {}
        key = key_of(self.speech.namespace, self.corpus.speaker_key)
        return {"namespace": fingerprint(key), "tokens": tokens_of(key, self.present)}
