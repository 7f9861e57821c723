import logging
import multiprocessing
import os
import signal
import stat
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from base.registries import MODEL_PRESETS
from speech.corpora.corpus import Corpus
from speech.data import feature_cache
from speech.data.examples import Example, ExampleStore
from speech.data.feature_cache import FeatureCache
from speech.errors import CorpusError
from tests.speech import toy

TINY = MODEL_PRESETS["tiny"].features


def cached(folder: Path, corpus: Corpus, **settings) -> ExampleStore:
    return ExampleStore(corpus, TINY, disk=FeatureCache(folder, corpus, TINY, **settings))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def same(found: list[Example], expected: list[Example]) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(a.id == b.id and a.text == b.text and torch.equal(a.features, b.features) for a, b in pairs)


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch):
    """Call it, and from then on no audio may be decoded."""

    def refuse(path: Path):
        raise AssertionError(f"{path} was decoded again")

    return lambda: monkeypatch.setattr("speech.audio.Recording.read", refuse)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return toy.corpus(tmp_path)


def test_what_one_store_computed_the_next_reads_and_it_is_the_same(tmp_path: Path, corpus, silence) -> None:
    expected = ExampleStore(corpus, TINY).split_examples("seed")
    assert same(cached(tmp_path / "cache", corpus).split_examples("seed"), expected)
    assert len(files(tmp_path / "cache")) == 2  # one a speaker, and no litter
    silence()
    assert same(cached(tmp_path / "cache", corpus).split_examples("seed"), expected)


def test_only_its_user_may_read_it(tmp_path: Path, corpus) -> None:
    cached(tmp_path / "cache", corpus).split_examples("seed")
    modes = {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (tmp_path / "cache").rglob("*")}
    assert modes == {0} and stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    (tmp_path / "cache").chmod(0o755)
    with pytest.raises(CorpusError, match="other users may enter it; `chmod 700` it"):
        cached(tmp_path / "cache", corpus)


def test_no_name_in_it_is_a_speakers_or_a_path(tmp_path: Path, corpus) -> None:
    cached(tmp_path / "cache", corpus).split_examples("seed")
    for path in files(tmp_path / "cache"):
        content = path.read_bytes()
        for secret in (b"seed-0", b"wav", corpus.utterances("seed", "seed-0")[0].text.encode()):
            assert secret not in content and secret not in str(path.relative_to(tmp_path)).encode()


@pytest.mark.parametrize("damage", ["truncated", "emptied", "a bit flipped", "another file"])
def test_a_damaged_file_is_computed_again(tmp_path: Path, corpus, damage: str, caplog, silence) -> None:
    expected = ExampleStore(corpus, TINY).examples("seed", "seed-0")
    cached(tmp_path / "cache", corpus).examples("seed", "seed-0")
    (path,) = files(tmp_path / "cache")
    whole = path.read_bytes()
    path.write_bytes(
        {
            "truncated": whole[: len(whole) // 2],
            "emptied": b"",
            "a bit flipped": whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
            "another file": b"this is no safetensors file, but long enough for a header",
        }[damage]
    )
    with caplog.at_level(logging.WARNING):
        assert same(cached(tmp_path / "cache", corpus).examples("seed", "seed-0"), expected)
    assert "damaged and is computed again" in caplog.text
    assert path.read_bytes() == whole
    silence()
    assert same(cached(tmp_path / "cache", corpus).examples("seed", "seed-0"), expected)


def test_a_file_of_an_earlier_release_is_read(tmp_path: Path, corpus, silence) -> None:
    """Its entry of metadata has another name."""
    expected = ExampleStore(corpus, TINY).examples("seed", "seed-0")
    cached(tmp_path / "cache", corpus).examples("seed", "seed-0")
    (path,) = files(tmp_path / "cache")
    with safe_open(path, framework="pt") as file:
        (rows,), features = file.metadata().values(), file.get_tensor("features").clone()
    save_file({"features": features}, path, metadata={"earlier": rows})
    silence()
    assert same(cached(tmp_path / "cache", corpus).examples("seed", "seed-0"), expected)


def test_changed_audio_and_other_features_are_not_taken_for_the_old(tmp_path: Path, corpus) -> None:
    before = cached(tmp_path / "cache", corpus).examples("seed", "seed-0")
    audio = corpus.utterances("seed", "seed-0")[1].audio
    wave, rate = soundfile.read(audio)
    soundfile.write(audio, wave[::-1], rate)
    after = cached(tmp_path / "cache", corpus).examples("seed", "seed-0")
    assert torch.equal(after[0].features, before[0].features)
    assert not torch.equal(after[1].features, before[1].features)
    paper = MODEL_PRESETS["paper"].features
    other = ExampleStore(corpus, paper, disk=FeatureCache(tmp_path / "cache", corpus, paper))
    assert other.examples("seed", "seed-0")[0].features.shape[1] == 80


def test_what_cannot_be_used_is_remembered_with_its_reason(tmp_path: Path, corpus, silence) -> None:
    utterances = corpus.utterances("seed", "seed-0")
    soundfile.write(utterances[1].audio, np.full(8_000, np.nan), 16_000, subtype="FLOAT")
    for utterance in corpus.utterances("seed", "seed-1"):
        utterance.audio.write_bytes(b"")
    first = cached(tmp_path / "cache", corpus)
    first.split_examples("seed")
    silence()
    again = cached(tmp_path / "cache", corpus)
    assert [e.id for e in again.examples("seed", "seed-0")] == [utterances[i].id for i in (0, 2, 3)]
    assert again.examples("seed", "seed-1") == []
    assert again.skipped == first.skipped and len(again.skipped) == 5


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("__init__", soundfile.LibsndfileError(2)),
        ("read", soundfile.LibsndfileError(2)),
        ("read", MemoryError()),
    ],
)
def test_a_fault_of_the_machine_is_not_remembered(
    tmp_path: Path, corpus, monkeypatch: pytest.MonkeyPatch, place: str, fault: Exception
) -> None:
    def fail(*_, **__):
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(soundfile.SoundFile, place, fail)
        store = cached(tmp_path / "cache", corpus)
        assert store.examples("seed", "seed-0") == [] and len(store.skipped) == 4
    assert files(tmp_path / "cache") == []
    assert len(cached(tmp_path / "cache", corpus).examples("seed", "seed-0")) == 4


def read_all(folder: Path, corpus: Corpus, start, results) -> None:
    store = cached(folder, corpus)
    start.wait()
    results.put([(e.id, e.features.numpy().tobytes()) for e in store.split_examples("seed")])


def test_several_processes_at_once_get_and_leave_what_one_does(tmp_path: Path) -> None:
    corpus = toy.corpus(tmp_path, speakers=6)
    expected = [
        (e.id, e.features.numpy().tobytes()) for e in ExampleStore(corpus, TINY).split_examples("seed")
    ]
    context = multiprocessing.get_context("fork")
    start, results = context.Event(), context.Queue()
    arguments = (tmp_path / "cache", corpus, start, results)
    workers = [context.Process(target=read_all, args=arguments) for _ in range(4)]
    for worker in workers:
        worker.start()
    start.set()
    for _ in workers:
        assert results.get(timeout=60) == expected
    for worker in workers:
        worker.join(timeout=60)
        assert worker.exitcode == 0
    assert len(files(tmp_path / "cache")) == 6


def write_for_ever(folder: Path, corpus: Corpus) -> None:
    save = feature_cache.save_file
    while True:
        for path in files(folder):
            path.unlink()
        feature_cache.save_file = lambda *a, **k: (save(*a, **k), time.sleep(0.02))
        cached(folder, corpus).split_examples("seed")


def test_a_killed_writer_leaves_whole_files_only_and_its_litter_is_swept(tmp_path: Path, corpus) -> None:
    folder = tmp_path / "cache"
    expected = ExampleStore(corpus, TINY).split_examples("seed")
    for pause in (0.05, 0.1, 0.15):
        worker = multiprocessing.get_context("fork").Process(target=write_for_ever, args=(folder, corpus))
        worker.start()
        while not files(folder):
            time.sleep(0.01)
        time.sleep(pause)
        os.kill(worker.pid, signal.SIGKILL)
        worker.join(timeout=60)
        disk = FeatureCache(folder, corpus, TINY)
        for path in folder.glob("*/*.safetensors"):
            assert disk.load(path) is not None
        assert same(cached(folder, corpus).split_examples("seed"), expected)
    litter = next(folder.iterdir()) / ".abc.safetensors.1.2"
    litter.write_bytes(b"half")
    os.utime(litter, (0, 0))
    corpus.utterances("seed", "seed-0")[0].audio.touch()  # so that something is written
    cached(folder, corpus).split_examples("seed")
    assert not litter.exists()


def test_a_full_folder_lets_go_of_what_no_run_of_now_uses(tmp_path: Path) -> None:
    corpus = toy.corpus(tmp_path, speakers=3)
    folder = tmp_path / "cache"
    cached(folder, corpus).split_examples("seed")
    old, fresh, newest = files(folder)
    os.utime(old, (1, 1))
    os.utime(newest, (time.time() + 60,) * 2)
    os.utime(fresh, (time.time() + 60,) * 2)
    bound = sum(path.stat().st_size for path in (old, fresh, newest))
    store = cached(folder, corpus, bound_bytes=bound)
    store.split_examples("seed-test")
    assert not old.exists() and fresh.exists() and newest.exists()
    assert sum(path.stat().st_size for path in files(folder)) <= bound


def test_a_disk_without_room_is_logged_once_and_costs_nothing(
    tmp_path: Path, corpus, caplog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(feature_cache, "save_file", fail)
    with caplog.at_level(logging.WARNING):
        found = cached(tmp_path / "cache", corpus).split_examples("seed")
    assert same(found, ExampleStore(corpus, TINY).split_examples("seed"))
    assert [record.getMessage().count("No space left") for record in caplog.records] == [1]
    assert files(tmp_path / "cache") == []
    small = cached(tmp_path / "cache", corpus, bound_bytes=10)
    assert same(small.split_examples("seed"), found)


def test_a_folder_that_cannot_be_made_is_named_or_does_without(tmp_path: Path, corpus, caplog) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CorpusError, match=r"feature cache .*file/cache: Not a directory; name a folder"):
        FeatureCache(tmp_path / "file" / "cache", corpus, TINY)
    with caplog.at_level(logging.WARNING):
        assert FeatureCache.if_possible(tmp_path / "file" / "cache", corpus, TINY) is None
    assert "features are not kept on disk" in caplog.text


def test_the_features_are_mapped_and_not_read_into_memory_of_ones_own(tmp_path: Path, corpus) -> None:
    for _ in ("computed", "found"):
        held = cached(tmp_path / "cache", corpus).split_examples("seed")
        maps = Path("/proc/self/maps").read_text()
        assert held and all(str(path) in maps for path in files(tmp_path / "cache"))
        del held


def test_only_one_speakers_features_are_removed(tmp_path: Path, corpus) -> None:
    folder = tmp_path / "cache"
    cached(folder, corpus).split_examples("seed")
    before = files(folder)
    gone, stays = corpus.speakers("seed")
    assert feature_cache.remove(folder, corpus.utterances("seed", gone)) == 1
    assert feature_cache.remove(folder, corpus.utterances("seed", gone)) == 0
    (left,) = files(folder)
    assert left in before
    assert feature_cache.remove_all_but(folder, [corpus.utterances("seed", stays)]) == 0
    assert feature_cache.remove_all_but(folder, []) == 1 and files(folder) == []


def test_what_is_no_file_of_features_is_never_removed(tmp_path: Path, corpus) -> None:
    """Were the folder that of runs, its models would have the same suffix."""
    folder = tmp_path / "cache"
    cached(folder, corpus).split_examples("seed")
    (own,) = {path.parent for path in files(folder)}
    others = [
        folder / "run" / "model.safetensors",
        own / "model.safetensors",
        folder / "sub" / f"{'a' * 32}.txt",
    ]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert feature_cache.remove_all_but(folder, []) == 2
    assert files(folder) == sorted(others)
