"""Tiny pre-trained models with random weights, in folders of Hugging Face's layout; no network is needed.

They have the parts of their architectures (the norms, masks, buffers and tied weights), 2 layers and a width
of 32. Their weights are larger than usual at the start, so that outputs depend on the input.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from speech.data.examples import Example
from speech.model.adapters import Adapters
from speech.model.choice import ModelChoice
from speech.model.recogniser import Recogniser
from speech.pretrained.transformers_library import transformers
from speech.text import ENGLISH
from tests.corpora import tone

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
TEXTS = ("one two", "turn the light on", "a quick fox", "kitchen")
SENTENCES = ("one two three four five", "turn the light on in the kitchen", "a quick brown fox jumps over")
SPREAD = 0.2  # of the weights
RATE_HZ = 16000
BLANK = len(LETTERS) + 2  # of the CTC vocabulary: letters, the space, "unknown", and then the blank
ENCODER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
WAV2VEC2 = {
    **ENCODER,
    "conv_dim": [32, 32, 32],
    "conv_kernel": [10, 8, 4],
    "conv_stride": [8, 8, 5],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "initializer_range": SPREAD,
    "vocab_size": BLANK + 1,
    "pad_token_id": BLANK,
    "bos_token_id": None,
    "eos_token_id": None,
}


def tiny_model(name: str, folder: Path, **changes: Any) -> Path:
    """Write the model `name` of `ARCHITECTURES` to `folder`, with changes of its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ARCHITECTURES[name](folder, changes)
        _spread(model)
    model.save_pretrained(folder)
    return folder


def waveforms() -> list[torch.Tensor]:
    """Utterances of `TEXTS`, of different lengths."""
    return [torch.from_numpy(tone(text, seed=index)) for index, text in enumerate(TEXTS)]


def examples_of(model: Recogniser) -> list[Example]:
    """The same utterances as inputs of `model`."""
    extract = model.front_end.extractor()
    pairs = zip(TEXTS, waveforms(), strict=True)
    return [Example.of(text, text, extract(wave), model.tokeniser) for text, wave in pairs]


def load(folder: Path, adapters: str = "", **changes: Any) -> Recogniser:
    """The model of a folder in evaluation mode, with adapters of rank 4 on some layers, without dropout."""
    chosen = Adapters(layers=adapters, rank=4) if adapters else None
    return ModelChoice(name=str(folder), adapters=chosen, **changes).make(ENGLISH, dropout=0.0).eval()


@torch.no_grad()
def _spread(model: nn.Module) -> None:
    """Move biases, norms and their statistics away from 0 and 1, which would hide whether they are used."""
    for value in model.parameters():
        if value.ndim == 1:
            value.add_(0.1 * torch.randn_like(value))
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.running_mean.normal_(0, 0.3)
            layer.running_var.uniform_(0.5, 2)


def _waveform_ctc(kind: str, *, norm: str = "layer", **more: Any) -> Callable[[Path, dict], nn.Module]:
    """A CTC model over the waveform; those with a group norm over time were trained without a mask."""

    def make(folder: Path, changes: dict) -> nn.Module:
        _letters(folder)
        _front_end(
            folder,
            "Wav2Vec2",
            feature_size=1,
            do_normalize=True,
            return_attention_mask=norm == "layer",
        )
        library = transformers()
        settings = {**WAV2VEC2, "feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer", **more}
        config = getattr(library, f"{kind}Config")(**{**settings, **changes})
        return getattr(library, f"{kind}ForCTC")(config)

    return make


def _wav2vec2_bert(folder: Path, changes: dict) -> nn.Module:
    _letters(folder)
    _front_end(
        folder,
        "SeamlessM4T",
        feature_size=16,
        num_mel_bins=16,
        stride=2,
        return_attention_mask=True,
    )
    config = transformers().Wav2Vec2BertConfig(
        **{
            **ENCODER,
            "feature_projection_input_dim": 32,
            "conv_depthwise_kernel_size": 5,
            "initializer_range": SPREAD,
            "vocab_size": BLANK + 1,
            "pad_token_id": BLANK,
            **changes,
        }
    )
    return transformers().Wav2Vec2BertForCTC(config)


def _parakeet(folder: Path, changes: dict) -> nn.Module:
    _pieces(folder, kind="ParakeetTokenizer", special=("<unk>", "<pad>"), around="$A", pad="<pad>")
    _front_end(
        folder,
        "Parakeet",
        feature_size=16,
        hop_length=160,
        n_fft=512,
        win_length=400,
        preemphasis=0.97,
        return_attention_mask=True,
    )
    size = len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    encoder = {
        **ENCODER,
        "subsampling_conv_channels": 8,
        "num_mel_bins": 16,
        "conv_kernel_size": 5,
        "initializer_range": 2 * SPREAD,  # else all utterances have one text
        **changes,
    }
    config = transformers().ParakeetCTCConfig(vocab_size=size, pad_token_id=1, encoder_config=encoder)
    return transformers().ParakeetForCTC(config)


def _whisper(folder: Path, changes: dict) -> nn.Module:
    special = ("<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>")
    end, start, plain = special
    size = _pieces(
        folder, kind="WhisperTokenizer", special=special, around=f"{start} {plain} $A {end}", last=True
    )
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), size - 3)
    _front_end(
        folder,
        "Whisper",
        chunk_length=4,
        feature_size=16,
        hop_length=160,
        n_fft=400,
        n_samples=4 * RATE_HZ,
        nb_max_frames=400,
        return_attention_mask=False,
    )
    settings = {
        "d_model": 32,
        **{f"{part}_layers": 2 for part in ("encoder", "decoder")},
        **{f"{part}_attention_heads": 2 for part in ("encoder", "decoder")},
        **{f"{part}_ffn_dim": 64 for part in ("encoder", "decoder")},
        "num_mel_bins": 16,
        "max_source_positions": 200,
        "max_target_positions": 64,
        "init_std": SPREAD,
        "vocab_size": size,
        "decoder_start_token_id": size - 2,
        **ids,
        "suppress_tokens": None,
        "begin_suppress_tokens": None,
        **changes,
    }
    model = transformers().WhisperForConditionalGeneration(transformers().WhisperConfig(**settings))
    model.generation_config = transformers().GenerationConfig(
        **ids,
        decoder_start_token_id=size - 2,
        no_timestamps_token_id=size - 1,
        is_multilingual=False,
        return_timestamps=False,
    )
    return model


def _moonshine(folder: Path, changes: dict) -> nn.Module:
    special = ("<unk>", "<s>", "</s>")
    size = _pieces(folder, kind="PreTrainedTokenizerFast", special=special, around="<s> $A </s>", pad="</s>")
    _front_end(
        folder,
        "Wav2Vec2",
        feature_size=1,
        do_normalize=False,
        return_attention_mask=True,
    )
    config = transformers().MoonshineConfig(
        **{
            "vocab_size": size,
            "hidden_size": 32,
            "intermediate_size": 64,
            **{f"{part}_num_hidden_layers": 2 for part in ("encoder", "decoder")},
            **{f"{part}_num_attention_heads": 2 for part in ("encoder", "decoder")},
            "initializer_range": SPREAD,
            **changes,
        }
    )
    return transformers().MoonshineForConditionalGeneration(config)


def _front_end(folder: Path, kind: str, **settings: Any) -> None:
    """Write the settings of a front end of the library's class for `kind`."""
    _write(
        folder,
        "preprocessor_config.json",
        feature_extractor_type=f"{kind}FeatureExtractor",
        sampling_rate=RATE_HZ,
        padding_value=0.0,
        **settings,
    )


def _letters(folder: Path) -> None:
    """Write the tokeniser of a CTC model whose outputs are letters."""
    symbols = [*LETTERS, "|", "<unk>", "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({one: index for index, one in enumerate(symbols)}))
    _write(
        folder,
        "tokenizer_config.json",
        tokenizer_class="Wav2Vec2CTCTokenizer",
        unk_token="<unk>",
        pad_token="<pad>",
        bos_token=None,
        eos_token=None,
        word_delimiter_token="|",
        do_lower_case=False,
    )


def _pieces(
    folder: Path, *, kind: str, special: tuple[str, ...], around: str, pad: str = "", last: bool = False
) -> int:
    """Write a tokeniser of byte pairs; `special` have its first indices, or its last. Return its size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=120,
        special_tokens=[] if last else list(special),
        initial_alphabet=[*"abcdefghijklmnopqrstuvwxyz'-", "Ġ"],
        show_progress=False,
    )
    made.train_from_iterator([f" {one}" for one in SENTENCES], trainer)
    made.add_special_tokens(list(special))
    made.post_processor = processors.TemplateProcessing(
        single=around, special_tokens=[(one, made.token_to_id(one)) for one in special]
    )
    made.save(str(folder / "tokenizer.json"))
    _write(
        folder,
        "tokenizer_config.json",
        tokenizer_class=kind,
        unk_token=special[0],
        pad_token=pad or special[0],
        **({} if pad == "<pad>" else {"eos_token": pad or special[0], "bos_token": special[0]}),
    )
    return made.get_vocab_size()


def _write(folder: Path, name: str, **settings: Any) -> None:
    (folder / name).write_text(json.dumps(settings))


ARCHITECTURES: dict[str, Callable[[Path, dict], nn.Module]] = {
    "wav2vec2": _waveform_ctc("Wav2Vec2"),
    "wav2vec2-group-norm": _waveform_ctc("Wav2Vec2", norm="group"),
    "hubert": _waveform_ctc("Hubert"),
    "wavlm": _waveform_ctc("WavLM"),
    "wav2vec2-bert": _wav2vec2_bert,
    "parakeet": _parakeet,
    "whisper": _whisper,
    "moonshine": _moonshine,
}
"""Makes each architecture's model, and writes all of its folder but the weights."""

CTC = ("wav2vec2", "wav2vec2-group-norm", "hubert", "wavlm", "wav2vec2-bert", "parakeet")
ADAPTED = {
    "wav2vec2": "*.v_proj,*.intermediate_dense",
    "wav2vec2-group-norm": "*.v_proj",
    "hubert": "*.v_proj",
    "wavlm": "*.intermediate_dense,*.output_dense",
    "wav2vec2-bert": "*.linear_v,*.pointwise_conv1",
    "parakeet": "*.v_proj,*.pointwise_conv1",
    "whisper": "*.q_proj,*.v_proj,*.fc1",
    "moonshine": "*.q_proj,*.v_proj",
}
"""Layers of each that adapters suit."""


def random_adapters_(model: Recogniser, spread: float = SPREAD) -> None:
    """Give the adapters values, as training does: at the start they change nothing."""
    generator = torch.Generator().manual_seed(1)
    for name, value in model.named_parameters():
        if name.endswith(".lora_B"):
            value.data.normal_(0, spread, generator=generator)
