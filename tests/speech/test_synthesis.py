"""speech.synthesis: everything follows from the seed, no speaker from another, and it is speech."""

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from speech.corpora.loading import load_corpus
from speech.synthesis import effects
from speech.synthesis.effects import FRAME_SAMPLES, SAMPLE_RATE_HZ
from speech.synthesis.espeak import WORKER, SynthesisError, say
from speech.synthesis.grammar import SentenceDrawer, is_held_out, vocabulary
from speech.synthesis.plan import EMBEDDED_PLAN, SplitPlan
from speech.synthesis.voices import HARD, MILD, NOISES, VirtualSpeaker, generator
from speech.synthesis.writer import speak, write_corpus
from speech.text import ENGLISH

SEED = 5
TINY = (
    SplitPlan(name="train", domain=HARD, speakers=2, utterances=3),
    SplitPlan(name="test", domain=HARD, speakers=1, utterances=2, held_out=True),
)


def speaker(name: str = "s", seed: int = SEED) -> VirtualSpeaker:
    return VirtualSpeaker.draw(name, HARD, generator(seed, name, "voice"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "corpus"
    write_corpus(out, seed=SEED, plans=TINY)
    return out


# The grammar


def test_the_vocabulary_is_small_and_all_sentences_are_normal() -> None:
    assert 80 <= len(vocabulary()) <= 100
    for held_out in (True, False):
        sentences = SentenceDrawer(held_out=held_out).draw(150, generator(SEED, "g"))
        assert len(set(sentences)) == 150
        for sentence in sentences:
            assert ENGLISH.normalise(sentence) == sentence
            assert set(sentence.split()) <= vocabulary()
            assert is_held_out(sentence) == held_out


def test_no_sentence_names_one_thing_twice() -> None:
    for sentence in SentenceDrawer(held_out=False).draw(500, generator(SEED, "g")):
        if match := re.match(r"how far is (\w+) from (\w+)|did (\w+) call (\w+)", sentence):
            places = [word for word in match.groups() if word]
            assert len(set(places)) == 2


@pytest.mark.parametrize("count", [0, -1, 10**6])
def test_an_impossible_number_of_sentences(count: int) -> None:
    with pytest.raises(ValueError, match=f"count={count}"):
        SentenceDrawer(held_out=True).draw(count, generator(SEED, "g"))


# Speakers


def test_a_speaker_depends_on_seed_and_name_alone() -> None:
    assert speaker("a") == speaker("a")
    assert replace(speaker("a"), name="b") != speaker("b")
    assert speaker("a", 1) != speaker("a", 2)
    with pytest.raises(ValueError, match="seed=-1"):
        generator(-1, "a")


def test_the_domains_are_as_described() -> None:
    hard = [speaker(f"h{number}") for number in range(400)]
    assert {s.accent for s in hard} == set(HARD.accents) and len(HARD.accents) == 7
    assert {s.noise for s in hard} == set(NOISES)
    assert all(8 <= s.snr_db <= 28 and 0.88 <= s.warp <= 1.14 for s in hard)
    in_rooms = [s.room_seconds for s in hard if s.room_seconds]
    # 400 draws at 60 %: outside 50 to 70 % has a chance of about 4e-5, and the seed is fixed.
    assert 0.5 < len(in_rooms) / len(hard) < 0.7
    assert all(0.1 <= seconds <= 0.4 for seconds in in_rooms)
    mild = [VirtualSpeaker.draw("m", MILD, generator(n, "m")) for n in range(100)]
    assert {s.accent for s in mild} == {"en-us", "en"}
    assert not any(s.room_seconds for s in mild)
    assert all(18 <= s.snr_db <= 40 for s in mild)
    assert {s.variant[0] for s in mild} == {"m", "f"}


@pytest.mark.parametrize("field", ["speakers", "utterances"])
def test_a_plan_without_speakers_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}=0"):
        replace(EMBEDDED_PLAN[0], **{field: 0})


# Effects


@given(
    st.sampled_from(NOISES),
    st.floats(min_value=0.0, max_value=0.4),
    st.integers(min_value=500, max_value=20_000),
)
@settings(max_examples=30)
def test_what_is_rendered_is_whole_frames_in_range(noise: str, room: float, length: int) -> None:
    random = np.random.default_rng(length)
    recorded = effects.render(
        random.standard_normal(length),
        22_050,
        replace(speaker(), noise=noise, room_seconds=room),
        random,
    )
    assert len(recorded) % FRAME_SAMPLES == 0
    assert np.isfinite(recorded).all()
    assert 0 < np.abs(recorded).max() <= 1


@pytest.mark.parametrize("kind", NOISES)
def test_noises_have_unit_power_and_their_colour(kind: str) -> None:
    noise = effects.coloured_noise(kind, SAMPLE_RATE_HZ, np.random.default_rng(0))
    assert np.mean(noise**2) == pytest.approx(1.0)
    power = np.abs(np.fft.rfft(noise)) ** 2  # one bin per Hz
    low, high = power[100:200].mean(), power[4000:4100].mean()
    slope_db_per_octave = 10 * np.log10(low / high) / np.log2(4050 / 150)
    expected = {"white": 0.0, "pink": 3.0, "brown": 6.0}
    if kind in expected:
        assert slope_db_per_octave == pytest.approx(expected[kind], abs=0.6)
    else:
        assert power[[50, 100, 150]].min() > 10 * power[1000:].max()


def test_an_unknown_noise_is_named() -> None:
    with pytest.raises(ValueError, match="'pop'"):
        effects.coloured_noise("pop", 10, np.random.default_rng(0))


def test_warp_moves_pitch_and_tempo_together() -> None:
    tone = np.sin(2 * np.pi * 500 * np.arange(22_050) / 22_050)
    warped = effects.warp(tone, 22_050, 1.1)
    assert len(warped) == pytest.approx(SAMPLE_RATE_HZ / 1.1, abs=20)
    peak = np.abs(np.fft.rfft(warped)).argmax() * SAMPLE_RATE_HZ / len(warped)
    assert peak == pytest.approx(550, abs=2)


def test_tilt_is_db_per_octave() -> None:
    impulse = np.zeros(SAMPLE_RATE_HZ)
    impulse[SAMPLE_RATE_HZ // 2] = 1.0
    gains = 20 * np.log10(np.abs(np.fft.rfft(effects.tilt(impulse, 2.0))))
    np.testing.assert_allclose(gains[[500, 1000, 4000]], [-2.0, 0.0, 4.0], atol=1e-3)


def test_a_room_decays_by_60_db_in_its_time() -> None:
    impulse = np.zeros(SAMPLE_RATE_HZ)
    impulse[0] = 1.0
    recorded = effects.reverberate(impulse, 0.4, np.random.default_rng(0))
    energy = np.add.reduceat(recorded**2, np.arange(0, 6400, 800))[1:8]
    falls = np.diff(10 * np.log10(energy))  # dB per 50 ms; 60 dB in 0.4 s is 7.5
    assert falls.mean() == pytest.approx(-7.5, abs=0.5)
    assert np.array_equal(effects.reverberate(impulse, 0.0, np.random.default_rng(0)), impulse)


def test_silence_is_trimmed_and_nothing_but_silence_refused() -> None:
    wave = np.concatenate([np.zeros(50), np.ones(10), np.zeros(70)])
    assert np.array_equal(effects.trim(wave), np.ones(10))
    for silent in (np.zeros(10), np.zeros(0)):
        with pytest.raises(ValueError, match="silent"):
            effects.trim(silent)


# espeak-ng


def test_a_speaker_speaks_the_same_whoever_spoke_before() -> None:
    alone = speak(TINY[0], 1, SEED)
    speak(TINY[0], 0, SEED)
    again = speak(TINY[0], 1, SEED)
    assert np.array_equal(alone.samples, again.samples)
    assert alone.parts == again.parts
    assert sum(length for _, _, length in alone.parts) == len(alone.samples)


def test_every_voice_of_the_domains_speaks() -> None:
    """Each accent and each variant once: a name that espeak-ng does not know would be an error."""
    for number, variant in enumerate(HARD.variants):
        accent = HARD.accents[number % len(HARD.accents)]
        ((wave, rate_hz),) = say(replace(speaker(), accent=accent, variant=variant), ["seven"])
        assert len(effects.trim(wave)) > 0.1 * rate_hz


def test_what_espeak_refuses_names_the_speaker() -> None:
    with pytest.raises(SynthesisError, match=r"speaker s cannot say 'yes'.*no voice 'xx-none"):
        list(say(replace(speaker(), accent="xx-none"), ["yes"]))


def test_without_espeak_the_error_has_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "espeakng_loader.py").write_text("raise ImportError('not installed')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SynthesisError, match=r"not installed.*pip install espeakng-loader"):
        list(say(speaker(), ["yes"]))


def test_espeak_is_never_loaded_into_the_callers_process() -> None:
    program = (
        "import sys\n"
        "from speech.synthesis.writer import speak, SplitPlan\n"
        "from speech.synthesis.voices import MILD\n"
        "speak(SplitPlan(name='x', domain=MILD, speakers=1, utterances=1), 0, 1)\n"
        "sys.exit('espeakng_loader' in sys.modules or 'libespeak' in open('/proc/self/maps').read())\n"
    )
    root = Path(effects.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0


def test_the_worker_goes_on_after_a_bad_request() -> None:
    good = {"voice": "en-us+f1", "rate": 170, "pitch": 50, "texts": ["yes"]}
    requests = "not json\n" + json.dumps({"voice": "en-us"}) + "\n" + json.dumps(good) + "\n"
    root = Path(effects.__file__).parents[2]
    output = subprocess.run(
        [sys.executable, "-m", WORKER],
        input=requests.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=root,
        check=True,
    ).stdout
    first, second, header, pcm = output.split(b"\n", 3)
    assert "error" in json.loads(first) and "error" in json.loads(second)
    assert len(pcm) == 2 * json.loads(header)["samples"] > 5000


# The corpus


def test_what_is_written_is_a_corpus(made: Path) -> None:
    corpus = load_corpus("manifest", made)
    assert corpus.skipped == ()
    counts = Counter({split: len(corpus.speakers(split)) for split in corpus.splits})
    assert counts == {"train": 2, "test": 1}
    about = json.loads((made / "corpus.json").read_text())
    assert [voice["name"] for voice in about["speakers"]] == ["train-000", "train-001", "test-000"]
    assert not list(made.rglob("*.part"))


def test_the_decoded_audio_is_the_spoken_one(made: Path) -> None:
    spoken = speak(TINY[0], 0, SEED)
    decoded, rate_hz = soundfile.read(made / "audio" / "train-000.ogg")
    assert rate_hz == SAMPLE_RATE_HZ
    assert len(decoded) == len(spoken.samples)
    for _, start, length in spoken.parts:
        original, coded = spoken.samples[start : start + length], decoded[start : start + length]
        lags = np.correlate(np.pad(coded, 100), original, mode="valid")
        assert lags.argmax() == 100  # in time to the sample
        assert np.corrcoef(original, coded)[0, 1] > 0.8


def test_the_same_seed_makes_the_same_corpus_with_any_number_of_workers(made: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "again", seed=SEED, plans=TINY, workers=2)
    for name in ("manifest.jsonl", "corpus.json", "README.md"):
        assert (tmp_path / "again" / name).read_bytes() == (made / name).read_bytes()
    for file in sorted((made / "audio").iterdir()):
        one, two = soundfile.read(file)[0], soundfile.read(tmp_path / "again/audio" / file.name)[0]
        assert np.array_equal(one, two)


def test_a_folder_that_is_not_empty_is_left_alone(made: Path) -> None:
    with pytest.raises(ValueError, match="is not empty"):
        write_corpus(made, seed=SEED, plans=TINY)
