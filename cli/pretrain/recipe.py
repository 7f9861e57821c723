"""A recipe of `murmur pretrain`: tables [corpus] and [pretrain] of a TOML file, checked as a whole."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

import recipes
from base.registries import CORPUS_KINDS
from base.settings import Positive, Section, explained, name_of
from recipes import ConfigError
from speech.alphabet_file import named_alphabet
from speech.corpora.corpus import MAX_SECONDS, Unspelled
from speech.pretraining import PretrainConfig
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
    """A recipe: tables [corpus] and [pretrain]. What it leaves out has its default."""

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
        raise ConfigError(f"recipe {path} cannot be used:\n{explained(error, PretrainRecipe)}") from None
