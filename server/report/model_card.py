"""The model card of a run: Markdown under a Hugging Face header, computed from the run folder alone.

Guarantee: every number in it comes from the ledger, the checkpoint, the recipe or evaluation.json of the
run; what these do not contain is reported as missing. About the training population it states what the plan
publishes, and nothing else. It names no folder of this machine and no ledger: a card is published.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml

from base.printable_text import in_code, in_markdown, one_line
from base.release import release
from optim.trainable import trained_names
from recipes import RunConfig
from recipes.model_section import TRAIN_ALL, ModelSection
from server.anchor import anchor_in_words
from server.averaging import average_in_words
from server.report.card_evaluation import evaluation_section, require_whole
from server.report.card_privacy import WEAK, privacy_section
from server.report.live_table import share_trained
from server.report.model_facts import ModelFacts
from server.storage.ancestry import unprotected
from server.storage.run_folder import RunFolder
from server.storage.run_ids import short
from speech.model.adapted_file import DIGEST
from speech.model.checkpoint import LoadedModel
from speech.model.ctc_transformer import CTCTransformer
from speech.pretrained.base import PretrainedRecogniser
from speech.pretrained.ctc import PretrainedCTC
from speech.pretrained.store import is_stored_name

LICENCE_MISSING = "not chosen yet: whoever publishes this model must choose one"

Form = Literal["run", "merged", "adapters"]
"""What a card is of: the model in a run folder, the same with adapters merged, or its adapters alone."""

_LIBRARY: dict[Form, str] = {"run": "murmuration", "merged": "transformers", "adapters": "peft"}
_FORMS: dict[Form, str] = {
    "run": "kept beside the base model's weights",
    "merged": "merged into the base model's weights",
    "adapters": "here alone, without the base model's weights",
}
_FACTORS = {"B": "B trained, A fixed at random", "AB": "both factors trained"}

_USE = """\
## Intended use and limits

For research on private federated speech recognition, and for transcribing speech like that of the held-out
speakers above. {spelling} Error rates differ between
speakers: look at the worst tenth of the speakers, and evaluate the model on your own speech before you rely
on it (`murmur evaluate`). Do not use it where a wrong word can harm someone, to identify or profile speakers,
or on speech that was recorded without consent."""


def model_card(
    folder: RunFolder,
    config: RunConfig,
    licence: str | None = None,
    *,
    base_model: Path | None = None,
    form: Form = "run",
) -> str:
    """Return the card of the model in a run folder.

    Args:
        folder: The run folder.
        config: The configuration of its run.
        licence: The licence of the model; None if it is not chosen yet.
        base_model: Where the pre-trained model is that it started from, instead of where its name says.
        form: What the card is of.

    Raises:
        ConfigError: As `ModelFacts.of`, and if evaluation.json lacks something.
        CheckpointMismatch, LedgerCorrupt, ResumeRefused: As `ModelFacts.of`.
    """
    facts = ModelFacts.of(folder, config, base_model)
    if facts.evaluation is not None:
        require_whole(facts.evaluation, folder.evaluation)
    parts = [
        _header(facts, licence, form),
        f"# {in_markdown(_title(facts))}",
        _model(facts, form),
        _data(facts),
        privacy_section(facts),
        evaluation_section(facts),
        _USE.format(spelling=_spelling(facts.loaded)),
        f"## Licence\n\n{in_markdown(licence or LICENCE_MISSING)}.",
        f"*Computed by Murmuration {release()} from the run folder and its ledger.*",
    ]
    return "\n\n".join(parts) + "\n"


def card_of_file(loaded: LoadedModel, licence: str | None, privacy: str, *, form: Form) -> str:
    """Return a short card of a model file that no run folder explains.

    Args:
        loaded: A pre-trained model, adapted or not.
        licence: Its licence; None if it is not chosen yet.
        privacy: Its guarantee in one sentence.
        form: What the card is of.
    """
    parts = [
        _front_matter(_base_header(loaded, licence, form)),
        f"# {in_markdown(loaded.public_name)}, exported by Murmuration",
        f"{_kind(loaded)}.{_adapters(loaded, form)}{_window(loaded, form)}",
        f"## Privacy\n\n{in_markdown(privacy)}.",
        f"## Licence\n\n{in_markdown(licence or LICENCE_MISSING)}.",
        f"*Written by Murmuration {release()} from a model file.*",
    ]
    return "\n\n".join(parts) + "\n"


def _title(facts: ModelFacts) -> str:
    return one_line(f"Murmuration {facts.loaded.public_name}, run {short(facts.run)}")


def _header(facts: ModelFacts, licence: str | None, form: Form) -> str:
    header = _base_header(facts.loaded, licence, form)
    header["tags"] += ["federated-learning", *_privacy_tags(facts)]
    if facts.evaluation is not None:
        header["model-index"] = [{"name": _title(facts), "results": [_result(facts, facts.evaluation)]}]
    return _front_matter(header)


def _base_header(loaded: LoadedModel, licence: str | None, form: Form) -> dict[str, Any]:
    pretrained = isinstance(loaded.model, PretrainedRecogniser)
    header: dict[str, Any] = {
        "language": [loaded.alphabet.language],
        "license": licence or "other",
        "library_name": _LIBRARY[form] if pretrained else "murmuration",
        "pipeline_tag": "automatic-speech-recognition",
        "tags": ["speech", *_ctc(loaded)],
    }
    if licence is None:
        header["license_name"] = "not-chosen"
    if pretrained and is_stored_name(loaded.preset):
        alone = loaded.model.choice.adapters is not None and form != "merged"
        header["base_model"] = loaded.preset
        header["base_model_relation"] = "adapter" if alone else "finetune"
    return header


def _front_matter(header: dict[str, Any]) -> str:
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---"


def _privacy_tags(facts: ModelFacts) -> list[str]:
    """The tag "differential-privacy" is only for models with a strong guarantee for all training speakers."""
    private = facts.plan.is_private and not unprotected(facts.lineage)
    return ["differential-privacy"] if private and facts.headline.value <= WEAK else []


def _result(facts: ModelFacts, evaluation: dict[str, Any]) -> dict[str, Any]:
    kind = facts.config.corpus.kind
    return {
        "task": {"type": "automatic-speech-recognition"},
        "dataset": {"name": facts.data_name, "type": kind, "split": evaluation["split"]},
        "metrics": [
            {"type": name, "name": name.upper(), "value": round(100 * evaluation[name]["rate"], 2)}
            for name in ("wer", "cer")
        ],
    }


def _model(facts: ModelFacts, form: Form) -> str:
    model = facts.loaded.model
    sizes = {name: value.numel() for name, value in model.named_parameters()}
    trained = sum(sizes[name] for name in trained_names(model, facts.config.model.trained))
    seed = facts.config.model.seed
    start = {
        "embedded": "the seed model shipped with Murmuration, trained centrally on synthetic speech",
        "random": "random parameters",
        "base": "the base model as it was published",
    }.get(seed, "a seed model of the organiser, whose training data this run does not know")
    alphabet, share = facts.loaded.alphabet, share_trained(model, trained)
    return (
        f"{_kind(facts.loaded)}, {share}, for language `{alphabet.language}` in "
        f"{len(alphabet.characters)} characters; 16 kHz mono speech in, text out. "
        f"Started from {start}; trained with federated learning, {facts.rounds_done} of {facts.plan.rounds} "
        f"planned rounds.{_average(facts)}{_trained(facts.config.model)}{_adapters(facts.loaded, form)}"
        f"{_window(facts.loaded, form)}"
    )


def _average(facts: ModelFacts) -> str:
    words = average_in_words(facts.config.server, facts.plan.rounds, facts.rounds_done)
    return f" Its trained parameters are the {words}." if words else ""


def _trained(section: ModelSection) -> str:
    """Which parameters were trained, where not all were."""
    whole = section.trainable == TRAIN_ALL
    return "" if whole else f" Trained parameters: `{in_code(section.trained)}`; all others are unchanged."


def _adapters(loaded: LoadedModel, form: Form) -> str:
    adapters = loaded.model.choice.adapters if loaded.model.choice else None
    if adapters is None:
        return ""
    return (
        f" Adapters of rank {adapters.rank} (alpha {adapters.alpha:g}, {_FACTORS[adapters.train]}) on "
        f"`{in_code(adapters.layers)}`, {_FORMS[form]}."
    )


def _window(loaded: LoadedModel, form: Form) -> str:
    """The window of a model that has one, where the library of the card has no other."""
    short = loaded.model.choice is not None and loaded.model.choice.window == "short"
    if not short:
        return ""
    elsewhere = " Other libraries fill its window: evaluate it so before you use it there."
    return f" Made for short input, the utterance and half a second.{elsewhere if form != 'run' else ''}"


def _ctc(loaded: LoadedModel) -> list[str]:
    return ["ctc"] if isinstance(loaded.model, CTCTransformer | PretrainedCTC) else []


def _spelling(loaded: LoadedModel) -> str:
    if isinstance(loaded.model, PretrainedRecogniser):
        return "Error rates are counted without case and punctuation."
    return "Greedy decoding gives lower-case words without punctuation."


def _kind(loaded: LoadedModel) -> str:
    """The architecture, and for a pre-trained model where it is from."""
    name = in_code(loaded.public_name)
    if loaded.model.choice is None or loaded.model.choice.is_preset:
        return f"CTC transformer, preset `{name}`"
    known = {"revision": loaded.metadata.get("revision"), "licence": loaded.metadata.get("licence")}
    said = ", ".join(f"{what} {in_markdown(value or 'not known')}" for what, value in known.items())
    return f"Base model `{name}` ({said}; SHA-256 `{in_code(loaded.metadata[DIGEST])}`)"


def _data(facts: ModelFacts) -> str:
    known = {
        "embedded": "the `train` split of the embedded synthetic corpus; no recording of a person",
        "synthetic": "synthetic speakers; no recording of a person",
    }
    kind = facts.config.corpus.kind if facts.trained_on_its_corpus else ""
    training = known.get(kind, "speech that stayed on its nodes")
    lines = [
        f"- Training: {training}. {facts.plan.population:,} speakers; hours: missing, because nodes do not "
        "report them.",
        *_anchor(facts),
        f"- Held out: {in_markdown(facts.data_name)}, split `{in_code(facts.config.corpus.test_split)}`"
        f"{_held_out(facts)}.",
    ]
    return "## Data\n\n" + "\n".join(lines)


def _anchor(facts: ModelFacts) -> list[str]:
    """What the server trained on itself, which no epsilon covers."""
    words = anchor_in_words(facts.config.server, named=False)
    if not words:
        return []
    return [
        f"- Anchor: {in_markdown(words)}; SHA-256 of the corpus `{in_code(facts.anchor)}`. No epsilon is "
        "about its speakers."
    ]


def _held_out(facts: ModelFacts) -> str:
    found = facts.evaluation
    if found is None:
        return ""
    counts = (
        f", {found['speakers']} speakers, {found['utterances']} utterances, {60 * found['hours']:.1f} minutes"
    )
    shared = found["speakers_in_training"]
    return f"{counts}; {shared} of these speakers are in other splits too" if shared else counts
