import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from base.registries import MODEL_PRESETS
from speech.features.log_mel import FeatureConfig, LogMel
from speech.features.torchaudio_loader import torchaudio


def htk_mel_filters(num_mels: int, fft_size: int, rate_hz: int) -> np.ndarray:
    """Triangles on the HTK mel scale, written from its definition: (fft_size // 2 + 1, num_mels)."""

    def mel(hz: np.ndarray) -> np.ndarray:
        return 2595 * np.log10(1 + hz / 700)

    edges = 700 * (10 ** (np.linspace(0, mel(np.array(rate_hz / 2)), num_mels + 2) / 2595) - 1)
    hz = np.linspace(0, rate_hz / 2, fft_size // 2 + 1)[:, None]
    rising = (hz - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - hz) / np.diff(edges)[1:]
    return np.maximum(0, np.minimum(rising, falling))


def independent_log_mel(wave: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """The same features by numpy alone, frame by frame."""
    wave = wave.astype(np.float64) * config.gain
    wave = wave - config.pre_emphasis * np.concatenate([[0.0], wave[:-1]])
    padded = np.pad(wave, config.fft_size // 2)
    shape = {"hann": (0.5, 0.5), "hamming": (0.54, 0.46)}[config.window]  # centred framing alone
    place = np.arange(config.window_samples) / config.window_samples
    window = np.zeros(config.fft_size)
    start = (config.fft_size - config.window_samples) // 2
    window[start : start + config.window_samples] = shape[0] - shape[1] * np.cos(2 * np.pi * place)
    rows = [
        np.abs(np.fft.rfft(padded[i : i + config.fft_size] * window)) ** config.power
        for i in range(0, len(wave) + 1, config.hop_samples)
    ]
    mels = np.stack(rows) @ htk_mel_filters(config.num_mels, config.fft_size, config.sample_rate_hz)
    logs = np.log(np.maximum(mels, config.floor))
    axis = 0 if config.normalise == "mel" else None
    return (logs - logs.mean(axis=axis)) / np.maximum(logs.std(axis=axis), 1e-5)


@pytest.mark.parametrize("preset", ["tiny", "conformer"])
def test_features_agree_with_an_independent_computation(preset: str) -> None:
    config = MODEL_PRESETS[preset].features
    wave = np.random.default_rng(0).standard_normal(9_000).astype(np.float32) * 0.1
    ours = LogMel(config)(torch.from_numpy(wave)).numpy()
    theirs = independent_log_mel(wave, config)
    assert ours.shape == theirs.shape == (9_000 // 160 + 1, config.num_mels)
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


@pytest.mark.parametrize("samples", [16_000, 9_999, 400])
def test_the_paper_preset_is_the_recipe_of_the_release_written_out(samples: int) -> None:
    """By numpy with its constants in place; nothing of `FeatureConfig`."""
    wave = np.random.default_rng(1).standard_normal(samples).astype(np.float32) * 0.05
    windows = np.lib.stride_tricks.sliding_window_view(wave.astype(np.float64) * 32_768, 400)[::160]
    emphasised = windows - 0.97 * np.concatenate([windows[:, :1], windows[:, :-1]], 1)
    magnitudes = np.abs(np.fft.rfft(emphasised * np.hamming(400), 512))
    logs = np.log(np.maximum(magnitudes @ htk_mel_filters(80, 512, 16_000), 1.0))
    expected = (logs - logs.mean()) / logs.std()
    found = LogMel(MODEL_PRESETS["paper"].features)(torch.from_numpy(wave)).numpy()
    assert found.shape == expected.shape == ((samples - 400) // 160 + 1, 80)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_the_paper_preset_is_kaldis_spectrum_under_htks_filters() -> None:
    """The release's framing is Kaldi's with `snip_edges`, whose spectrum torchaudio has too."""
    wave = 0.05 * torch.randn(16_000, generator=torch.Generator().manual_seed(2))
    spectrum = torchaudio.compliance.kaldi.spectrogram(
        wave.unsqueeze(0) * 32_768,
        window_type="hamming",
        preemphasis_coefficient=0.97,
        remove_dc_offset=False,
        dither=0.0,
        sample_frequency=16_000.0,
    )  # of logarithms of powers, but for the first bin, which no filter takes
    filters = torchaudio.functional.melscale_fbanks(257, 0.0, 8_000.0, 80, 16_000, norm=None, mel_scale="htk")
    assert not filters[0].any()
    logs = ((spectrum / 2).exp() @ filters).clamp(min=1.0).log()
    expected = (logs - logs.mean()) / logs.std(correction=0)
    torch.testing.assert_close(LogMel(MODEL_PRESETS["paper"].features)(wave), expected, atol=1e-4, rtol=1e-4)


def test_the_conformer_preset_is_torchaudios_transform_with_these_options() -> None:
    wave = 0.05 * torch.randn(16_000, generator=torch.Generator().manual_seed(2))
    emphasised = torchaudio.functional.preemphasis(wave * 32_768, 0.97)
    spectrum = torchaudio.transforms.Spectrogram(
        n_fft=512,
        win_length=400,
        hop_length=160,
        window_fn=torch.hamming_window,
        power=1,
        pad_mode="constant",
    )(emphasised)
    filters = torchaudio.functional.melscale_fbanks(257, 0.0, 8_000.0, 80, 16_000, norm=None, mel_scale="htk")
    logs = (spectrum.T @ filters).clamp(min=1.0).log()
    expected = (logs - logs.mean()) / logs.std(correction=0)
    torch.testing.assert_close(
        LogMel(MODEL_PRESETS["conformer"].features)(wave), expected, atol=1e-4, rtol=1e-4
    )


def test_a_configuration_from_before_framing_is_written_as_it_was() -> None:
    """Model files and caches name features by these words: those of other presets stay valid."""
    assert "framing" not in MODEL_PRESETS["tiny"].features.written()
    assert MODEL_PRESETS["paper"].features.written()["framing"] == "whole"
    assert FeatureConfig(**MODEL_PRESETS["tiny"].features.written()) == MODEL_PRESETS["tiny"].features
    assert FeatureConfig(**MODEL_PRESETS["paper"].features.written()) == MODEL_PRESETS["paper"].features


def test_an_utterance_shorter_than_a_window_is_filled_up_with_silence() -> None:
    features_of = LogMel(MODEL_PRESETS["paper"].features)
    wave = 0.1 * torch.randn(150, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(features_of(wave), features_of(torch.cat([wave, torch.zeros(250)])))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
@pytest.mark.parametrize("preset", ["tiny", "paper"])
def test_a_gpu_computes_the_features_of_the_cpu(preset: str) -> None:
    wave = 0.1 * torch.randn(16_000, generator=torch.Generator().manual_seed(3))
    features_of = LogMel(MODEL_PRESETS[preset].features)
    here, there = features_of(wave), features_of(wave.cuda())
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), here, atol=2e-3, rtol=1e-3)


@settings(max_examples=20, deadline=None)
@given(samples=st.integers(1, 4_000), gain=st.sampled_from([0.0, 1e-3, 1.0]))
def test_any_length_and_loudness_gives_finite_features(samples: int, gain: float) -> None:
    wave = gain * torch.randn(samples, generator=torch.Generator().manual_seed(samples))
    for preset in ("tiny", "paper"):
        found = LogMel(MODEL_PRESETS[preset].features)(wave)
        frames = {"tiny": samples // 160 + 1, "paper": max(samples - 400, 0) // 160 + 1}[preset]
        assert found.shape == (frames, MODEL_PRESETS[preset].features.num_mels)
        assert MODEL_PRESETS[preset].features.frames(samples) == frames
        assert found.dtype == torch.float32
        assert found.isfinite().all()


def test_features_are_normalised_over_the_utterance_and_do_not_depend_on_its_loudness() -> None:
    wave = torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    found = LogMel(MODEL_PRESETS["tiny"].features)(wave)
    torch.testing.assert_close(found.mean(0), torch.zeros(40), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.std(0, correction=0), torch.ones(40), atol=1e-3, rtol=0)
    torch.testing.assert_close(LogMel(MODEL_PRESETS["tiny"].features)(0.1 * wave), found, atol=1e-3, rtol=0)


def test_the_waveform_is_left_as_it_was() -> None:
    wave = torch.ones(2_000)
    for preset in MODEL_PRESETS.values():
        LogMel(preset.features)(wave)
    assert torch.equal(wave, torch.ones(2_000))


@pytest.mark.parametrize("wave", [torch.zeros(0), torch.zeros(2, 100), torch.zeros(())])
def test_anything_but_one_channel_is_refused(wave: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"shape \(.*one channel of at least one"):
        LogMel(MODEL_PRESETS["tiny"].features)(wave)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_mels": 0}, "num_mels=0 must be > 0"),
        ({"sample_rate_hz": 0}, "sample_rate_hz=0 must be > 0"),
        ({"floor": float("nan")}, "floor=nan must be > 0"),
        ({"window": "square"}, "'square' must be one of hann, hamming"),
        ({"power": 3}, "power=3 must be 1"),
        ({"normalise": "corpus"}, "'corpus' must be 'mel' or 'utterance'"),
        ({"pre_emphasis": 1.0}, r"pre_emphasis=1.0 must lie in \[0, 1\)"),
        ({"fft_size": 256}, "fft_size=256 is shorter than the window of 400 samples"),
    ],
)
def test_impossible_configurations_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureConfig(**{"num_mels": 40} | change)
