"""What the tests share: the project as it is here, and what is made of it once."""

import pytest
from mlrelease.testing import Case


@pytest.fixture(scope="session")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case.here(tmp_path_factory.mktemp("case"))
