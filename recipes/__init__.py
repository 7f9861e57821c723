"""What a run is: the typed, validated run configuration, ready TOML recipes, and where things lie."""

from recipes.places import (
    SEEDS_WITHOUT_FILE,
    WITHOUT_FILES,
    checkout,
    corpus_path,
    existing_run,
    feature_cache,
    home,
    resolve,
    runs_folder,
    seed_model,
)
from recipes.run_config import ConfigError, RunConfig

__all__ = [
    "SEEDS_WITHOUT_FILE",
    "WITHOUT_FILES",
    "ConfigError",
    "RunConfig",
    "checkout",
    "corpus_path",
    "existing_run",
    "feature_cache",
    "home",
    "resolve",
    "runs_folder",
    "seed_model",
]
