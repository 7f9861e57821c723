"""Mutated corpora: loaded with what was left out counted, or refused as a `SpeechError`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import mutations, sounds
from tests.fuzz.counts import fuzz, tally
from tests.fuzz.reading_process import ReadingProcess
from tests.speech import layouts

TABLES = (".jsonl", ".txt", ".tsv", "text", "utt2spk", "wav.scp")


def manifest(folder: Path) -> Path:
    rows = []
    for number, text in enumerate(["yes", "no", "let us go"]):
        layouts.sound(folder / f"{number}.flac", 1.0)
        row = {"audio_filepath": f"{number}.flac", "text": text, "speaker": number % 2, "duration": 0.5}
        rows.append({**row, "offset": 0.25, "split": "train", "id": f"u{number}", "lang": "en"})
    rows[2] = {"audio_filepath": "2.flac", "text": "let us go", "speaker": "s"}
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def librispeech(folder: Path) -> Path:
    layouts.librispeech(folder, "train-clean-100", "19", "YES", "NO")
    return layouts.librispeech(folder, "dev-clean", "20", "GO HOME")


def commonvoice(folder: Path) -> Path:
    layouts.common_voice(folder, {"train": [("a", "Yes."), ("b", "No!")], "test": [("c", "Go home")]})
    (folder / "clip_durations.tsv").write_text("clip\tduration[ms]\ncommon_voice_en_train0.mp3\t500\n")
    return folder


def speechocean762(folder: Path) -> Path:
    rows = {"train": [("0001", "YES"), ("0002", "NO")], "test": [("0003", "GO")]}
    return layouts.speechocean762(folder, rows)


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    one.__name__: one for one in (manifest, librispeech, commonvoice, speechocean762)
}


@st.composite
def changes(draw: st.DrawFn, files: dict[str, bytes]) -> dict[str, bytes | None]:
    """New contents of some of a corpus's files; None is a file that is gone."""
    changed: dict[str, bytes | None] = {}
    tables = [name for name in sorted(files) if name.endswith(TABLES)]
    audio = [name for name in sorted(files) if name not in tables]
    for name in draw(st.lists(st.sampled_from([*tables, *tables, *audio]), min_size=1, max_size=2)):
        if draw(st.integers(0, 15)) == 0:
            changed[name] = None
        elif name in audio:
            changed[name] = draw(sounds.files)[1]
        else:
            changed[name] = draw(table(files[name], name))
    return changed


@st.composite
def table(draw: st.DrawFn, content: bytes, name: str) -> bytes:
    """A table with changed bytes, lines, fields or JSON values."""
    lines = content.split(b"\n")
    kind = draw(st.sampled_from(["bytes", "fields", "fields", "fields", "lines", "deep", "long"]))
    if kind == "bytes":
        return draw(mutations.byte_mutations(content))
    at = draw(st.integers(0, len(lines) - 1))
    if kind == "lines":
        return b"\n".join(draw(st.permutations([*lines, lines[at]])))
    if kind == "deep":
        lines[at] = b'{"a":' * draw(st.integers(1, 50_000))
    elif kind == "long":
        lines[at] = lines[at] + draw(st.sampled_from([b" x", b"\t", b"9"])) * 100_000
    elif name.endswith(".jsonl") and lines[at]:
        lines[at] = json.dumps(draw(mutations.json_mutations(json.loads(lines[at])))).encode()
    else:
        mark = b"\t" if b"\t" in lines[at] else b" "
        fields = lines[at].split(mark)
        word = draw(st.one_of(mutations.texts(), st.sampled_from(["1e400", "-1", "nan", "0", "\ufeff"])))
        fields[draw(st.integers(0, len(fields) - 1))] = word.encode("utf-8", "surrogatepass")
        lines[at] = mark.join(fields)
    return b"\n".join(lines)


def test_mutated_corpora_are_loaded_or_refused_and_nobody_is_lost_without_a_word(tmp_path: Path) -> None:
    counts = tally("corpora")
    made = {}
    for kind, make in LAYOUTS.items():
        (tmp_path / kind).mkdir()
        root = make(tmp_path / kind)
        found = {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}
        made[kind] = (root, found)
    with ReadingProcess() as reading_process:

        @fuzz(short=100, long=1000)
        @given(
            st.sampled_from(sorted(made)).flatmap(
                lambda kind: st.tuples(st.just(kind), changes(made[kind][1]))
            )
        )
        def one_corpus(chosen):
            kind, changed = chosen
            copy = tmp_path / "changed"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(made[kind][0], copy)
            for name, content in changed.items():
                (copy / name).unlink() if content is None else (copy / name).write_bytes(content)
            said = reading_process.ask("corpus", copy, kind=kind)
            assert "crashed" not in said, said["crashed"]
            counts["corpora"] += 1
            counts.update(said["counts"])

        one_corpus()
    assert counts["loaded"] >= counts["corpora"] / 5
