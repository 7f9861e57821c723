from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.pretrained_models import tiny_model


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns the folder of a tiny model by its name in `ARCHITECTURES`; each is written once."""
    home = tmp_path_factory.mktemp("pretrained")
    return cache(lambda name: tiny_model(name, home / name))
