"""What a run is to be, and all that can be found wrong with it before it is submitted."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile

from base.registries import LANGUAGES
from cli.composing import Flat, default_config, read_recipe, with_absolute_paths
from recipes import WITHOUT_FILES, ConfigError, RunConfig, corpus_path, runs_folder, seed_model
from recipes.earlier_keys import with_present_keys
from recipes.places import FIRST_RUN, SEEDS_WITHOUT_FILE
from server.errors import ResumeRefused
from server.planning import require_population
from server.storage.populations import PopulationIdentity, ledger_path, require_name
from speech.alphabet_file import named_alphabet
from speech.corpora.corpus import Corpus
from speech.corpora.kinds.synthetic import FRESH, with_fresh_population, without_population
from speech.corpora.loading import load_corpus
from speech.corpora.speakers import require_disjoint, require_one_for_each_node
from speech.errors import CorpusError, ModelError, SpeechError
from speech.pretrained.store import find_folder

CORPUS_PATH = "corpus.path"
FAULTS = (ConfigError, SpeechError, ResumeRefused)


def compose(recipe: Path | None, resume: str | None, settings: Flat) -> Flat:
    """What the run has other than the defaults: of the run to resume, then the recipe, then `settings`.

    Without a run to resume, a recipe, or settings that name another corpus, the recipe is that of the first
    run (`recipes/run/first-run.toml`). A population that is to be drawn is drawn here, before anything is
    submitted: server, nodes, run folder and ledger have the same one, and a resumed run keeps its own. A file
    with the characters of a language is read here: the recipe holds them as text.

    Raises:
        ConfigError, ResumeRefused: If there is no such recipe or run folder.
        LanguageError: For a language that is neither registered nor a file with characters.
    """
    if recipe is None and not resume and "corpus.kind" not in settings:
        recipe = FIRST_RUN
    given = {**_spelled(read_recipe(recipe) if recipe else {}), **_spelled(settings)}
    given = with_absolute_paths(given)
    before = recipe_of_run(resume, given) if resume else {}
    return {**before, **given, **_population(before, given)}


def _spelled(settings: Flat) -> Flat:
    """`settings` with the characters of the language that they name, if it is a file."""
    language = settings.get("corpus.language")
    if not isinstance(language, str) or settings.get("corpus.characters"):
        return settings
    if language in LANGUAGES:
        return {**settings, "corpus.characters": ""}
    alphabet = named_alphabet(language)
    return {**settings, "corpus.language": alphabet.language, "corpus.characters": alphabet.characters}


def _population(before: Flat, given: Flat) -> Flat:
    """The corpus path with its population, if one is to be drawn or kept."""
    path, earlier = str(given.get(CORPUS_PATH, "")), str(before.get(CORPUS_PATH, ""))
    kind = {**default_config(), **before, **given}["corpus.kind"]
    if kind != "synthetic" or not path.endswith(FRESH):
        return {}
    same = "@" in earlier and without_population(path) == without_population(earlier)
    return {CORPUS_PATH: earlier if same else with_fresh_population(path)}


def recipe_of_run(resume: str, settings: Flat) -> Flat:
    """The recipe that an interrupted run was started with, set to go on with it.

    Raises:
        ConfigError, ResumeRefused: If there is no such run folder.
    """
    from server.storage.resumption import interrupted_path

    here = Path(resume).expanduser()
    path = interrupted_path(
        str(here.absolute()) if here.is_dir() else resume, str(settings.get("run.folder", ""))
    )
    return {**with_present_keys(read_recipe(path / "config.toml")), "run.resume": str(path)}


def check(overrides: Flat, nodes: int = 1, hosts: int = 0) -> RunConfig:
    """The configuration with `overrides`, checked as far as it can be before `nodes` nodes are simulated.

    `hosts` is the number of SuperNodes that hold them together; 0 if each is one.

    Raises:
        ConfigError, SpeechError, ResumeRefused: With the fault.
    """
    config = RunConfig.from_flat({**default_config(), **overrides})
    if config.run.resume:
        from server.storage.resumption import Interrupted  # here, for torch takes a second or two

        Interrupted.find(config)  # raises if the run is not there, or was another one
    section = config.corpus
    corpus = load_corpus(section.kind, corpus_path(section.kind, section.path), **section.rules)
    for split in (section.train_split, section.test_split):
        corpus.speakers(split)  # raises if there is no such split
    try:
        require_one_for_each_node(corpus, section.train_split, nodes)
    except CorpusError as error:
        raise ConfigError(f"--nodes {nodes}: {error}") from error
    if not section.shared_speakers:
        require_disjoint(corpus)
    require_population(config, len(corpus.speakers(section.train_split)))
    if hosts > nodes:
        raise ConfigError(f"--hosts {hosts}: there are only {nodes} nodes to hold; give at most that")
    there, what, option = (hosts, "SuperNodes", "--hosts") if hosts else (nodes, "nodes", "--nodes")
    if config.training.min_nodes > there:
        raise ConfigError(
            f"training.min-nodes = {config.training.min_nodes}: only {there} {what} are simulated, so the "
            f"run would wait in vain; lower it, or give {option}"
        )
    if not config.run.resume:
        _require_name(config, corpus)
        _require_seed(config)
        _require_base_model(config)
        _require_folder(config)
    return config


def _require_name(config: RunConfig, corpus: Corpus) -> None:
    if config.privacy.population_name or config.corpus.kind in WITHOUT_FILES:
        return
    population = PopulationIdentity(digests=frozenset([corpus.digest]))
    require_name(config, ledger_path(runs_folder(config.run.folder), corpus.digest), population)


def _require_seed(config: RunConfig) -> None:
    seed = config.model.seed
    if seed not in SEEDS_WITHOUT_FILE and not (file := seed_model(seed)).is_file():
        raise ConfigError(
            f"model.seed = {seed!r}: there is no file {file}; give the path of a model, 'embedded', "
            "'base' or 'random'"
        )


def _require_base_model(config: RunConfig) -> None:
    if config.model.is_preset:
        return
    try:
        find_folder(config.model.name).require_digest(config.model.digest)
    except ModelError as error:
        raise ConfigError(f"{error}") from None


def _require_folder(config: RunConfig) -> None:
    folder = runs_folder(config.run.folder)
    there = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        TemporaryFile(dir=there).close()
    except OSError as error:
        raise ConfigError(
            f"run.folder = {config.run.folder!r}: {folder} cannot be written ({error.strerror}); choose a "
            "folder that you may write"
        ) from error
