"""The speech of a node: its own, which its owner names, or a part of the run's corpus.

The owner alone names a node's speech, in its SuperNode's
`--node-config 'corpus-kind="manifest" corpus-path="..."'`; a server cannot. Only a node whose configuration
has Flower's `partition-id` and `num-partitions`, in a simulation or a demo, takes that part of the run's
corpus.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from base.registries import LANGUAGES
from client.own_settings import OwnSettingError
from recipes import SEEDS_WITHOUT_FILE, WITHOUT_FILES, ConfigError
from recipes.sections import UNSPELLED, CorpusSection
from speech.errors import LanguageError
from speech.text import alphabet_of

OWN_SPEECH = {"corpus-kind", "corpus-path"}
PART_OF_THE_RUNS = ("partition-id", "num-partitions")


def is_simulated(node_config: Mapping[str, Any]) -> bool:
    """Whether the node's speech is a part of the run's own corpus, which the server's operators have."""
    return any(name in node_config for name in PART_OF_THE_RUNS) and not OWN_SPEECH & set(node_config)


def part_of_the_runs(node_config: Mapping[str, Any]) -> tuple[int, int]:
    """The node's part (from 0) and the number of parts. Raises `ConfigError` if there is no such part."""
    index, parts = (node_config.get(name) for name in PART_OF_THE_RUNS)
    if not (isinstance(index, int) and isinstance(parts, int) and 0 <= index < parts):
        raise ConfigError(
            f"--node-config 'partition-id={index} num-partitions={parts}': a node with a part of the run's "
            "corpus needs both, and the first is from 0 to one less than the second; speakers on two nodes "
            "would count twice"
        )
    return index, parts


def own_rules(node_config: Mapping[str, Any]) -> dict[str, Any]:
    """The rules for usable utterances that the node itself sets.

    A node sets them because a server could try many rules, and learn from the numbers of usable speakers what
    they said and for how long. Raises `OwnSettingError` for a value that is no such rule.
    """
    return {
        name.removeprefix("corpus-").replace("-", "_"): read(name, node_config[name])
        for name, read in OWN_RULES.items()
        if name in node_config
    }


def _seconds(name: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise OwnSettingError(name, value, "set it to a number of seconds above 0")
    return number


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise OwnSettingError(name, value, "set it to text in quotes")
    return value


def _unspelled(name: str, value: Any) -> str:
    if value not in get_args(UNSPELLED):
        raise OwnSettingError(name, value, f"set it to one of {', '.join(map(repr, get_args(UNSPELLED)))}")
    return str(value)


OWN_RULES: dict[str, Callable[[str, Any], Any]] = {
    "corpus-max-seconds": _seconds,
    "corpus-language": _text,
    "corpus-unspelled": _unspelled,
    "corpus-characters": _text,
}
"""How each rule is read."""


def _require_named_language(corpus: CorpusSection, rules: Mapping[str, Any]) -> None:
    """Refuse a run's characters unless the node's owner names their language.

    The numbers of usable speakers and utterances depend on the characters. A server that could ask with any
    set of them, again and again, would learn which letters the transcripts have, and how often.

    Raises:
        ConfigError: If the run gives characters, and the owner names no language.
    """
    if corpus.characters and "language" not in rules:
        raise ConfigError(
            "corpus.characters: a node with its own speech takes a run's characters only for a language that "
            "its owner names; start its SuperNode with --node-config 'corpus-language=\"uk\"'"
        )


def _require_same_characters(corpus: CorpusSection, rules: dict[str, Any]) -> None:
    """Complete the node's own language by its characters.

    A registered language has the registered characters, whatever the run gives. For another language that the
    owner names without characters, they are the run's.

    Raises:
        ConfigError: If they are not those of the run: its model has other outputs.
    """
    if "language" in rules:
        unregistered = rules["language"] == corpus.language and corpus.language not in LANGUAGES
        rules.setdefault("characters", corpus.characters if unregistered else "")
    wanted = alphabet_of(corpus.language, corpus.characters)
    language = rules.get("language", corpus.language)
    try:
        own = alphabet_of(language, rules.get("characters", corpus.characters))
    except LanguageError:
        known = f"set it to one of {', '.join(map(repr, LANGUAGES))}, or give corpus-characters too"
        raise OwnSettingError("corpus-language", language, known) from None
    if difference := wanted.difference(own):
        raise ConfigError(
            f"--node-config corpus-language={own.language!r}: beside {wanted.language!r} of the run it "
            f"{difference}; a model has the characters of one language"
        )


@dataclass(frozen=True, kw_only=True)
class NodeSpeech:
    """The speech of a node.

    Attributes:
        corpus: The corpus.
        split: The split whose speakers are the node's.
        index: The node's part of that split, from 0.
        parts: The number of parts.
        simulated: Whether it is a part of the run's own corpus.
        feature_cache: The folder for features that the node names. With "" there is none, or the user's cache
            folder if `corpus.feature_cache` is set.
        own: Whether the node itself names the speech.
        namespace: Nodes with the same namespace use the same id for a speaker. With "" only nodes with the
            same corpus do.
    """

    corpus: CorpusSection
    split: str
    index: int
    parts: int
    simulated: bool
    feature_cache: str
    own: bool = False
    namespace: str = ""

    @classmethod
    def of(cls, corpus: CorpusSection, node_config: Mapping[str, Any]) -> NodeSpeech:
        """The run's corpus section, with the settings of the node in place of its own.

        Raises:
            ConfigError: If the node names neither its own speech nor its part of the run's, or there is no
                such part.
        """
        own = bool(OWN_SPEECH & set(node_config))
        simulated = is_simulated(node_config)
        if not (own or simulated or corpus.kind in WITHOUT_FILES):
            raise ConfigError(
                f"corpus.path = {corpus.path!r}: a node opens no path that a server names; start its "
                "SuperNode with --node-config 'corpus-path=\"/data/manifest.jsonl\"', its own speech"
            )
        index, parts = part_of_the_runs(node_config) if simulated else (0, 1)
        rules = own_rules(node_config)
        if own:
            _require_named_language(corpus, rules)
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
    def has_real_speakers(self) -> bool:
        """Whether the node has recordings of its own, not synthetic speech or a part of the run's corpus."""
        return self.own and self.corpus.kind not in WITHOUT_FILES

    def seed(self, of_the_run: str) -> str:
        """The run's seed model, if this node may open it.

        Raises:
            ConfigError: If the run names a path, and the node's speech is its own: the node's answer would
                tell the server which files are there.
        """
        if of_the_run not in SEEDS_WITHOUT_FILE and not self.simulated:
            raise ConfigError(
                f"model.seed = {of_the_run!r}: a node opens no path that a server names; copy the seed model "
                "to the node and name it, --node-config 'seed-path=\"...\"'"
            )
        return of_the_run
