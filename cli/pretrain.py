"""`murmur pretrain`: make a seed model by central training, from a recipe that anyone can repeat."""

import tomllib
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from rich.console import Console

import recipes
from recipes import ConfigError, corpus_path
from speech.checkpoint import save_model
from speech.corpus import MAX_SECONDS, Corpus, Unspelled, load_corpus
from speech.evaluation import Evaluation
from speech.pretraining import Epoch, PretrainConfig, Pretrained
from speech.pretraining import pretrain as train
from speech.text import ENGLISH

SEED_RECIPE = Path(recipes.__file__).parent / "seed.toml"
_SKIPPED_SHOWN = 10


class CorpusChoice(BaseModel):
    """Whose speech to train on."""

    model_config = PretrainConfig.model_config

    kind: str = Field(default="embedded", min_length=1, description="what lies at the path")
    path: str = Field(default="", description="manifest file or corpus folder; empty for 'embedded'")
    max_seconds: float = Field(default=MAX_SECONDS, gt=0, description="longer utterances are skipped")
    language: str = Field(default=ENGLISH.language, description="what is spoken: en, fr, de")
    unspelled: Unspelled = Field(default="skip", description="transcripts with other characters: skip, map")


class PretrainRecipe(BaseModel):
    """A recipe: tables [corpus] and [pretrain]. What it leaves out has its default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    corpus: CorpusChoice = CorpusChoice()
    pretrain: PretrainConfig = PretrainConfig()


def read_recipe(path: Path) -> PretrainRecipe:
    """Read and validate a TOML recipe.

    Raises `ConfigError` for a file that is missing or no TOML, and for every unknown key, wrong
    type and impossible value at once.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return PretrainRecipe.model_validate(table)
    except OSError as error:
        raise ConfigError(f"recipe {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {path} is no TOML: {error}") from None
    except ValidationError as error:
        faults = "\n".join(f"  - {_explain(fault)}" for fault in error.errors())
        raise ConfigError(f"recipe {path} cannot be used:\n{faults}") from None


def pretrain(
    out: Annotated[Path, typer.Option("--out", "-o", help="The model file to write.")],
    recipe: Annotated[Path, typer.Option("--recipe", help="How to train.")] = SEED_RECIPE,
    corpus_kind: Annotated[str | None, typer.Option("--corpus-kind", help="Instead of the recipe's.")] = None,
    corpus: Annotated[Path | None, typer.Option("--corpus-path", help="Instead of the recipe's.")] = None,
) -> None:
    """Train a model centrally, to start a federation from."""
    console = Console()
    try:
        chosen = read_recipe(recipe)
        _check_out(out)
        speech = _load(chosen.corpus, corpus_kind, corpus)
        trained = train(
            speech, chosen.pretrain, on_epoch=lambda epoch: _show(console, epoch, chosen.pretrain)
        )
        extra = {"corpus": speech.digest, "recipe": chosen.pretrain.model_dump_json(by_alias=True)}
        save_model(out, trained.model, chosen.pretrain.preset, extra)
    except (ValueError, OSError) as error:
        _fail(error)
    _summarise(console, trained, out)


def _load(choice: CorpusChoice, kind: str | None, path: Path | None) -> Corpus:
    """The corpus of the recipe, or of the command line, whose paths count from where one stands."""
    if path is None:
        # Another kind than the recipe's has nothing to do with the recipe's path.
        place = corpus_path(choice.path) if kind in (None, choice.kind) else ""
    else:
        place = str(path.resolve())
    rules = choice.model_dump(include={"max_seconds", "language", "unspelled"})
    return load_corpus(kind or choice.kind, place, **rules)


def _check_out(out: Path) -> None:
    """Find out before the training, and not after it, that the model cannot be written."""
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; give the path of a file in it.")
    out.parent.mkdir(parents=True, exist_ok=True)


def _show(console: Console, epoch: Epoch, config: PretrainConfig) -> None:
    """One line for one pass."""
    line = f"epoch {epoch.number:>3}/{config.epochs}  loss {epoch.loss:8.3f}  {epoch.cpu_seconds:6.1f} CPU s"
    for split, evaluation in epoch.evaluations.items():
        line += f"  {split}: {_rates(evaluation)}"
    console.print(line, highlight=False, soft_wrap=True)


def _summarise(console: Console, trained: Pretrained, out: Path) -> None:
    for skipped in trained.skipped[:_SKIPPED_SHOWN]:
        console.print(f"skipped {skipped.source}: {skipped.reason}", markup=False, soft_wrap=True)
    if trained.skipped:
        console.print(f"{len(trained.skipped)} utterances were skipped, their audio is unusable")
    console.print(f"model: {out}", markup=False, highlight=False, soft_wrap=True)


def _rates(evaluation: Evaluation) -> str:
    return f"loss {evaluation.loss:.3f}, WER {100 * evaluation.wer:.1f} %, CER {100 * evaluation.cer:.1f} %"


def _explain(fault: ErrorDetails) -> str:
    """One fault: the key, its value, what is wrong and what would do."""
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{key} = {fault['input']!r}: no such key; known are {', '.join(_known(key))}"
    if fault["type"] == "value_error":
        return f"{key}: {fault['msg'].removeprefix('Value error, ')}"
    return f"{key} = {fault['input']!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}"


def _known(key: str) -> list[str]:
    """The keys that could stand where `key` does."""
    section = PretrainRecipe.model_fields.get(key.partition(".")[0])
    model = section.annotation if section else PretrainRecipe
    fields = model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
    return [field.alias or name for name, field in fields.items()]


def _fail(error: Exception) -> NoReturn:
    Console(stderr=True).print(f"error: {error}", style="red", markup=False, soft_wrap=True)
    raise typer.Exit(code=1)
