"""The service does what its own OpenAPI document says, whatever is made from that document."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from mlrelease.serving import process as serving_process
from tests.engine.trained import Trained

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(trained: Trained) -> Iterator[str]:
    """The real service on a real socket."""
    service = trained.service()
    started = threading.Event()
    with serving_process.listen("127.0.0.1", 0) as private:
        server = serving_process.Server(service, service.listening, started.set)
        thread = threading.Thread(target=server.run, args=([private],))
        thread.start()
        assert started.wait(10)
        yield f"http://127.0.0.1:{private.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)
        service.close()


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_every_answer_is_described(url: str, mode: schemathesis.GenerationMode) -> None:
    """Among the checks: no 5xx; status, content type and body as described; bad values refused.
    What no schema can say: which texts are CSV files, and for which rows a model has no answer."""
    document = schemathesis.openapi.from_url(f"{url}/openapi.json")
    asked: dict[str, int] = {}
    for result in document.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case: Any) -> None:
            asked[case.path] = asked.get(case.path, 0) + 1
            response = case.call(timeout=20)
            known = case.media_type in (None, "application/json")
            known &= "no finite answer" not in response.text
            case.validate_response(
                response, excluded_checks=None if known else [positive_data_acceptance]
            )

        with contextlib.suppress(
            Unsatisfiable
        ):  # a path without parameters has nothing to get wrong
            check()
    assert asked["/predict"] >= 100
