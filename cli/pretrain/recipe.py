"""A recipe of `murmur pretrain`: tables [corpus], [model] and [pretrain] of a TOML file, checked as a whole.

The table [model] is the section of a run's recipe. What it leaves out has the default of a run, but its
`name` is the preset of [pretrain], and its `seed` is "random" for a preset, "base" for a pre-trained model.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

import recipes
from base.registries import CORPUS_KINDS, MODEL_PRESETS
from base.settings import Positive, Section, explained, name_of
from cli.composing import default_config, with_absolute_paths
from cli.pretrain.start import Given, start_of
from recipes import ConfigError
from recipes.model_section import BASE, RANDOM, ModelSection
from speech.alphabet_file import named_alphabet
from speech.corpora.corpus import MAX_SECONDS, Unspelled
from speech.pretraining import PretrainConfig, Start
from speech.text import ENGLISH, Alphabet, alphabet_of

SEED_RECIPE = Path(recipes.__file__).parent / "pretrain" / "seed.toml"


class CorpusChoice(Section):
    """Whose speech to train on."""

    model_config = PretrainConfig.model_config

    kind: Annotated[str, name_of(CORPUS_KINDS)] = Field(default="embedded", description="what is at the path")
    path: str = Field(default="", description="manifest file or corpus folder; empty for 'embedded'")
    max_seconds: Positive = Field(default=MAX_SECONDS, description="longer utterances are skipped")
    language: str = Field(
        default=ENGLISH.language,
        description="code of the language, or a file with its characters",
    )
    characters: str = Field(default="", description="characters of a language that is not registered")
    unspelled: Unspelled = Field(default="skip", description="transcripts with other characters: skip, map")
    feature_cache: bool = Field(default=True, description="keep features in the user's cache folder")

    @property
    def alphabet(self) -> Alphabet:
        """The characters of the language.

        Raises:
            LanguageError: If the language is not registered, has no characters here, and is no file.
        """
        if self.characters:
            return alphabet_of(self.language, self.characters)
        return named_alphabet(self.language)


class PretrainRecipe(Section):
    """A recipe: tables [corpus], [model] and [pretrain]. What it leaves out has its default."""

    corpus: CorpusChoice = CorpusChoice()
    model: ModelSection
    pretrain: PretrainConfig = PretrainConfig()

    @model_validator(mode="after")
    def _one_name(self) -> "PretrainRecipe":
        preset, name = self.pretrain.preset, self.model.name
        if "preset" in self.pretrain.model_fields_set and preset != name:
            raise ValueError(
                f"pretrain.preset = {preset!r} and model.name = {name!r}: both name the model; leave "
                "pretrain.preset out"
            )
        return self

    @property
    def start(self) -> Start | None:
        """What the training starts from; None if that is a whole preset with new parameters.

        Raises as `start_of`.
        """
        of_preset = self.model.is_preset and self.model.seed == RANDOM
        plain = of_preset and not self.model.adapters and self.model.head == BASE
        return None if plain else start_of(self.model, self.pretrain, self.corpus.max_seconds)


def read_recipe(path: Path, given: Given | None = None) -> PretrainRecipe:
    """Read and validate a TOML recipe, with what the command line gives of its model.

    Raises:
        ConfigError: For a file that is missing or no TOML, and for every unknown key, wrong type and
            impossible value at once.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return PretrainRecipe.model_validate(_with_model(table, given))
    except OSError as error:
        raise ConfigError(
            f"recipe {path} cannot be read: {error.strerror}; give the path of a TOML file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {path} is no TOML: {error}; mend it there") from None
    except ValidationError as error:
        raise ConfigError(f"recipe {path} cannot be used:\n{explained(error, PretrainRecipe)}") from None


def _with_model(table: dict[str, Any], given: Given | None) -> dict[str, Any]:
    """Complete the table [model] from the command line, [pretrain] and the defaults of a run."""
    own, pretrain = table.get("model", {}), table.get("pretrain", {})
    if not isinstance(own, dict) or not isinstance(pretrain, dict):
        return table  # validation says so
    if given:
        pretrain = {key: value for key, value in pretrain.items() if key != "preset"}
        own = {**given.defaults, **_placed(own), **given.fixed}
    own = {"name": _preset(pretrain), **_placed(own)}
    if own["name"] in MODEL_PRESETS:
        pretrain = {"preset": own["name"], **pretrain}
    own.setdefault("seed", RANDOM if own["name"] in MODEL_PRESETS else BASE)
    return {**table, "model": {**_run_defaults(), **own}, "pretrain": pretrain}


def _preset(pretrain: Mapping[str, Any]) -> str:
    """The preset of [pretrain]; its default in place of one that validation refuses."""
    named = pretrain.get("preset")
    default: str = PretrainConfig.model_fields["preset"].default
    return named if isinstance(named, str) and named in MODEL_PRESETS else default


def _placed(own: Mapping[str, Any]) -> dict[str, Any]:
    """[model] with absolute paths, as `murmur run` makes them."""
    placed = with_absolute_paths({f"model.{key}": value for key, value in own.items()})
    return {key: placed[f"model.{key}"] for key in own}


def _run_defaults() -> dict[str, Any]:
    """The section `model` of a run that says nothing of it."""
    everything = default_config()
    return {key.removeprefix("model."): v for key, v in everything.items() if key.startswith("model.")}
