"""A recipe of `murmur pretrain`: tables [corpus] and [pretrain] of a TOML file, checked as a whole."""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

import recipes
from recipes import ConfigError
from speech.corpora.corpus import MAX_SECONDS, Unspelled
from speech.pretraining import PretrainConfig
from speech.text import ENGLISH

SEED_RECIPE = Path(recipes.__file__).parent / "pretrain" / "seed.toml"


class CorpusChoice(BaseModel):
    """Whose speech to train on."""

    model_config = PretrainConfig.model_config

    kind: str = Field(default="embedded", min_length=1, description="what lies at the path")
    path: str = Field(default="", description="manifest file or corpus folder; empty for 'embedded'")
    max_seconds: float = Field(default=MAX_SECONDS, gt=0, description="longer utterances are skipped")
    language: str = Field(default=ENGLISH.language, description="what is spoken: en, fr, de")
    unspelled: Unspelled = Field(default="skip", description="transcripts with other characters: skip, map")
    feature_cache: bool = Field(default=True, description="keep features in the user's cache folder")


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
