import pytest

from tests.audit.planted import plant
from tests.audit.stage import use_small_preset


@pytest.fixture(autouse=True, scope="module")
def _small_and_planted():
    with pytest.MonkeyPatch.context() as patch:
        use_small_preset(patch)
        plant(patch)
        yield
