"""Tiny pre-trained models with random weights, in Hugging Face's layout, for tests that run everywhere."""

import json
from pathlib import Path

import torch

from speech.pretrained.transformers_library import transformers

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"


def wav2vec2(folder: Path, seed: int = 0) -> Path:
    """A CTC model of capital letters: a frame of 20 ms, layer norms in its front end, no mask."""
    library = transformers()
    symbols = ["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({symbol: n for n, symbol in enumerate(symbols)}))
    library.Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    library.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    config = library.Wav2Vec2Config(
        vocab_size=len(symbols),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        conv_dim=[16] * 4,
        conv_stride=[5, 4, 4, 4],
        conv_kernel=[10, 8, 4, 4],
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
    )
    return _saved(library.Wav2Vec2ForCTC, config, folder, seed)


def whisper(folder: Path, seed: int = 0) -> Path:
    """A Whisper whose vocabulary are bytes."""
    library = transformers()
    specials = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"]
    tokenizer = _bytes(specials, before=specials[1:], after=specials[0])
    tokenizer.save_pretrained(folder)
    library.WhisperFeatureExtractor(feature_size=16).save_pretrained(folder)
    end, start = tokenizer.convert_tokens_to_ids(specials[:2])
    config = library.WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=16,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        decoder_start_token_id=start,
        **_ends(end),
        suppress_tokens=None,
        begin_suppress_tokens=None,
        max_target_positions=200,
    )
    return _saved(library.WhisperForConditionalGeneration, config, folder, seed)


def moonshine(folder: Path, seed: int = 0) -> Path:
    """A Moonshine, which takes waveforms, whose vocabulary are bytes."""
    library = transformers()
    tokenizer = _bytes(["<s>", "</s>"], before=["<s>"], after="</s>")
    tokenizer.save_pretrained(folder)
    library.Wav2Vec2FeatureExtractor(return_attention_mask=True, do_normalize=False).save_pretrained(folder)
    start, end = tokenizer.convert_tokens_to_ids(["<s>", "</s>"])
    config = library.MoonshineConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        encoder_num_hidden_layers=2,
        decoder_num_hidden_layers=2,
        encoder_num_attention_heads=2,
        decoder_num_attention_heads=2,
        decoder_start_token_id=start,
        max_position_embeddings=200,
        initializer_range=0.3,  # else it writes its first token for ever
        tie_word_embeddings=False,
        **_ends(end),
    )
    return _saved(library.MoonshineForConditionalGeneration, config, folder, seed)


def _ends(end: int) -> dict[str, int]:
    return {"eos_token_id": end, "pad_token_id": end, "bos_token_id": end}


def _bytes(specials: list[str], *, before: list[str], after: str):
    """A tokeniser of bytes, where a word follows a space, with special tokens around a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={one: n for n, one in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(specials)
    template = " ".join([*before, "$A", after])
    made.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(one, made.token_to_id(one)) for one in (*before, after)]
    )
    kind = transformers().PreTrainedTokenizerFast
    return kind(tokenizer_object=made, eos_token=after, pad_token=after, additional_special_tokens=specials)


def _saved(kind, config, folder: Path, seed: int) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        kind(config).save_pretrained(folder)
    return folder
