"""`murmur corpus leave`: a speaker leaves this node for good.

In this order: the record (`client.state.departures`), which every message looks at; then what was computed
from the speech; then, only if asked, the recordings. A command that was interrupted can be given again.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from base.printable_text import one_line
from cli.corpus.options import or_exit
from recipes import WITHOUT_FILES, ConfigError, corpus_path, feature_cache, resolve
from speech.errors import CorpusError, SpeechError

if TYPE_CHECKING:
    from client.state.departures import Departures
    from speech.corpora.corpus import Corpus, Utterance

_MOST_NAMED = 20


def leave(
    speakers: Annotated[list[str], typer.Argument(help="Who leaves: ids as the corpus has them.")],
    corpus_kind: Annotated[str, typer.Option(help="As in --node-config.")] = "manifest",
    corpus_path_: Annotated[str, typer.Option("--corpus-path", help="As in --node-config.")] = "",
    corpus_language: Annotated[
        str, typer.Option(help="As in the run: en, fr, de, or a file with the characters.")
    ] = "en",
    node_state_: Annotated[
        str, typer.Option("--node-state", help="As in --node-config; else `node` in MURMUR_HOME.")
    ] = "",
    feature_cache_: Annotated[
        str, typer.Option("--feature-cache", help="As in --node-config: features there are deleted too.")
    ] = "",
    delete_recordings: Annotated[
        bool, typer.Option("--delete-recordings", help="Delete their sound files as well.")
    ] = False,
) -> None:
    """Take speakers out of this node: never drawn, trained or counted again, their features deleted.

    Run it on the node, as the user of the ClientApp (docs/leaving.md). A run under way goes on without them.
    Their recordings and transcripts stay where they are, unless --delete-recordings is given.
    """
    # Imported here: torch comes with them.
    from client.state.departures import Departure, Departures, record
    from client.state.node_state import KEY, node_state
    from speech.alphabet_file import named_alphabet
    from speech.corpora.loading import load_corpus

    try:
        folder = node_state({KEY: node_state_})
        departures = Departures(folder)
        corpus = load_corpus(
            corpus_kind, corpus_path(corpus_kind, corpus_path_), language=named_alphabet(corpus_language)
        )
        names = [_known(corpus, departures, name) for name in speakers]
        gone_before = {name: one.time_utc for name in names if (one := departures.of(name))}
        record(folder, [Departure.now(name, corpus.digest) for name in dict.fromkeys(names)])
        for name in names:
            before = gone_before.get(name)
            what = f"had left already, on {before}" if before else f"has left, as {departures.path} says"
            _say(f"{name}: {what}")
        _say(f"this holds for nodes whose node-state is {folder}, or whose MURMUR_HOME is {folder.parent}")
        _say(_forget(corpus, departures, [resolve(feature_cache_)] if feature_cache_ else []))
        for line in _recordings(corpus_kind, corpus, names, delete_recordings):
            _say(line)
    except (ConfigError, SpeechError, OSError) as error:
        raise or_exit(error) from None


def _say(line: str) -> None:
    typer.echo(one_line(line, most=2000))


def _known(corpus: Corpus, departures: Departures, name: str) -> str:
    """The id as the corpus, or the record, has it. Raises `CorpusError` for a stranger."""
    if any(corpus.has_speaker(split, name) for split in corpus.splits):
        return name
    others = {one.speaker for one in corpus.skipped} | {one.speaker for one in departures.entries}
    listed = set(_listed(corpus)) | others - {""}
    form = unicodedata.normalize("NFC", name)
    if same := [one for one in listed if unicodedata.normalize("NFC", one) == form]:
        return same[0]
    close = difflib.get_close_matches(name, sorted(listed), n=3)
    meant = f" (meant is {' or '.join(map(repr, close))}?)" if close else ""
    raise CorpusError(
        f"{corpus.name} has no speaker {name!r}{meant}, and nobody was recorded: give the id as the corpus "
        "has it, and the --corpus-path that the node has in --node-config. Who was deleted from the corpus "
        "already must be put back for this command: it records nobody whom it cannot find"
    )


def _listed(corpus: Corpus) -> Iterator[str]:
    """Everybody by name, where that is no going through numbers."""
    from speech.corpora.kinds.synthetic import SyntheticCorpus

    if not isinstance(corpus, SyntheticCorpus):
        for split in corpus.splits:
            yield from corpus.speakers(split)


def _forget(corpus: Corpus, departures: Departures, named: Iterable[Path]) -> str:
    """Delete features of all who have left, wherever this user keeps some."""
    from speech.data.feature_cache import remove, remove_all_but

    folders = [folder for folder in (*named, feature_cache()) if folder.is_dir()]
    everybody = list(dict.fromkeys(_listed(corpus)))
    leaving = [one.speaker for one in departures.entries]
    count = 0
    for folder in folders:
        if everybody:
            count += remove_all_but(folder, _spoken(corpus, departures.without(everybody)))
        else:
            count += sum(remove(folder, spoken) for spoken in _spoken(corpus, leaving))
    looked = ", ".join(map(str, folders)) or "no folder of them is here"
    return f"features: {count} files deleted, all but those of speakers who stay ({looked})"


def _spoken(corpus: Corpus, speakers: Iterable[str]) -> Iterator[tuple[Utterance, ...]]:
    for speaker in speakers:
        for split in corpus.splits:
            if corpus.has_speaker(split, speaker):
                yield corpus.utterances(split, speaker)


def _recordings(kind: str, corpus: Corpus, names: list[str], delete: bool) -> Iterator[str]:
    """What becomes of the sound files: deleted if asked, but for those in which somebody else speaks."""
    if kind in WITHOUT_FILES:
        return
    own = {one.audio.resolve() for spoken in _spoken(corpus, names) for one in spoken}
    links = {one.audio for spoken in _spoken(corpus, names) for one in spoken}
    others = {one.audio.resolve() for one in corpus.all_utterances() if one.speaker not in names}
    if not delete:
        yield (
            f"recordings: {len(own)} files and their transcripts stay where they are; delete them yourself, "
            "or give --delete-recordings for the sound"
        )
        return
    for link in sorted(links):
        if (file := link.resolve()) not in others:
            file.unlink(missing_ok=True)
            link.unlink(missing_ok=True)
    yield f"recordings: {len(own - others)} files deleted; their transcripts, in {corpus.name}, stay"
    for file in sorted(own & others)[:_MOST_NAMED]:
        yield f"recordings: {file} stays, for somebody else speaks in it too: cut it yourself"
    if len(own & others) > _MOST_NAMED:
        yield f"recordings: and {len(own & others) - _MOST_NAMED} more files of several speakers stay"
    if left_out := [one for one in corpus.skipped if one.speaker in names]:
        yield (
            f"recordings: {len(left_out)} utterances that the corpus leaves out were not looked for, the "
            f"first at {left_out[0].source}: delete them yourself"
        )
