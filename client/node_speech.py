"""Which speech is a node's: its own, which its owner names, or a part of the run's.

Which speech a node holds is its own affair: `--node-config 'corpus-kind="manifest" corpus-path="..."'`
of its SuperNode says it, and a server cannot. Only a node that says that it is a part of a simulation or a
demo, by Flower's `partition-id` and `num-partitions`, takes that part of the run's corpus, wherever that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipes import SEEDS_WITHOUT_FILE, WITHOUT_FILES, ConfigError
from recipes.sections import CorpusSection
from speech.text import alphabet_of

OWN_SPEECH = {"corpus-kind", "corpus-path"}
OWN_RULES = {
    "corpus-max-seconds": float,
    "corpus-language": str,
    "corpus-unspelled": str,
    "corpus-characters": str,
}
PART_OF_THE_RUNS = {"partition-id", "num-partitions"}


def is_simulated(node_config: Mapping[str, Any]) -> bool:
    """Whether the node's speech is a part of the run's own corpus, which the server's people know."""
    return bool(PART_OF_THE_RUNS & set(node_config)) and not OWN_SPEECH & set(node_config)


def _part(node_config: Mapping[str, Any]) -> tuple[int, int]:
    """Which part (from 0) of how many. Raises `ConfigError` if there is no such part."""
    index, parts = node_config.get("partition-id"), node_config.get("num-partitions")
    if not (isinstance(index, int) and isinstance(parts, int) and 0 <= index < parts):
        raise ConfigError(
            f"--node-config 'partition-id={index} num-partitions={parts}': a node that shares the run's "
            "corpus needs both, and the first is from 0 to one less than the second; two nodes with the same "
            "speakers would have them count twice"
        )
    return index, parts


def _own_rules(node_config: Mapping[str, Any]) -> dict[str, Any]:
    """Which utterances can be used, where the node says it: else a server could try many rules, and tell from
    the numbers of speakers what they say and for how long. Raises `ConfigError` for what is no such rule."""
    rules = {}
    for name, kind in OWN_RULES.items():
        if name in node_config:
            try:
                rules[name.removeprefix("corpus-").replace("-", "_")] = kind(node_config[name])
            except ValueError:
                raise ConfigError(f"--node-config {name}={node_config[name]!r}: expected a number") from None
    return rules


def _require_same_characters(corpus: CorpusSection, rules: dict[str, Any]) -> None:
    """Complete the node's own language by its characters.

    Raises:
        ConfigError: If they are not those of the run: its model has other outputs.
    """
    if "language" in rules:
        same = rules["language"] == corpus.language
        rules.setdefault("characters", corpus.characters if same else "")
    wanted = alphabet_of(corpus.language, corpus.characters)
    own = alphabet_of(rules.get("language", corpus.language), rules.get("characters", corpus.characters))
    if difference := wanted.difference(own):
        raise ConfigError(
            f"--node-config corpus-language={own.language!r}: beside {wanted.language!r} of the run it "
            f"{difference}; a model has the characters of one language"
        )


@dataclass(frozen=True, kw_only=True)
class NodeSpeech:
    """Which speech is this node's: a corpus, and the part of it (part `index` of `parts`)."""

    corpus: CorpusSection
    split: str
    index: int
    parts: int
    simulated: bool
    feature_cache: str  # the folder that the node names; `corpus` says whether there is one without a name
    own: bool = False  # speech that the node names
    namespace: str = ""  # within which ids of speakers mean the same people; empty: within the corpus

    @classmethod
    def of(cls, corpus: CorpusSection, node_config: Mapping[str, Any]) -> NodeSpeech:
        """From the run's corpus section, overridden by what the node says of itself.

        Raises:
            ConfigError: If the node says neither which speech is its own nor which part of the run's, or no
                such part can be.
        """
        own = bool(OWN_SPEECH & set(node_config))
        simulated = is_simulated(node_config)
        if not (own or simulated or corpus.kind in WITHOUT_FILES):
            raise ConfigError(
                f"corpus.path = {corpus.path!r}: a node opens no path that a server names; start its "
                "SuperNode with --node-config 'corpus-path=\"/data/manifest.jsonl\"', its own speech"
            )
        index, parts = _part(node_config) if simulated else (0, 1)
        rules = _own_rules(node_config)
        _require_same_characters(corpus, rules)
        return cls(
            corpus=corpus.model_copy(
                update={
                    "kind": str(node_config.get("corpus-kind", "manifest" if own else corpus.kind)),
                    "path": str(node_config.get("corpus-path", "" if own else corpus.path)),
                    "feature_cache": corpus.feature_cache and simulated,
                    **rules,
                }
            ),
            split=str(node_config.get("corpus-split", corpus.train_split)),
            index=index,
            parts=parts,
            simulated=simulated,
            own=own,
            feature_cache=str(node_config.get("feature-cache", "")),
            namespace=str(
                node_config.get("speaker-namespace", corpus.speaker_namespace if simulated else "")
            ),
        )

    @property
    def of_people(self) -> bool:
        """Whether the node holds people's speech of its own."""
        return self.own and self.corpus.kind not in WITHOUT_FILES

    def seed(self, of_the_run: str) -> str:
        """The run's seed model, where this node opens it.

        Raises:
            ConfigError: If the run names a path, and the node's speech is its own: what the node answers
                would tell the server what lies there.
        """
        if of_the_run not in SEEDS_WITHOUT_FILE and not self.simulated:
            raise ConfigError(
                f"model.seed = {of_the_run!r}: a node opens no path that a server names; copy the seed model "
                "to the node and name it, --node-config 'seed-path=\"...\"'"
            )
        return of_the_run
