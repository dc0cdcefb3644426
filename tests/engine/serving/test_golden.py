"""A service that answers anything but what was recorded does not pass."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mlrelease import files
from mlrelease.serving import golden, process as serving_process, service as serving_service
from tests.engine.trained import Trained

Golden = list[dict[str, Any]]


@pytest.fixture(scope="module")
def url(service: serving_service.Service) -> Iterator[str]:
    """The real service on a real socket."""
    private = serving_process.listen("127.0.0.1", 0)
    started = threading.Event()
    server = serving_process.Server(service, service.listening, started.set)
    thread = threading.Thread(target=server.run, args=([private],))
    thread.start()
    assert started.wait(10)
    yield f"http://127.0.0.1:{private.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    service.listening.update(private=None, public=None)


@pytest.fixture
def expected(trained: Trained) -> Golden:
    return list(files.read_json(trained.directory / "golden.json"))[:5]


def test_the_model_that_was_trained_passes(url: str, expected: Golden, trained: Trained) -> None:
    assert golden.check(url, expected, trained.digest) == []


def test_another_label_is_a_fault(url: str, expected: Golden, trained: Trained) -> None:
    expected[2]["answer"]["label"] = "benign"
    faults = golden.check(url, expected, trained.digest)
    assert [fault.split(":")[0] for fault in faults] == ["golden row 2", "all golden rows together"]


@pytest.mark.parametrize(("shift", "faults"), [(5e-7, 0), (2e-6, 2)])
def test_a_probability_may_differ_by_a_millionth(
    url: str, expected: Golden, trained: Trained, shift: float, faults: int
) -> None:
    expected[0]["answer"]["probability"] += shift
    assert len(golden.check(url, expected, trained.digest)) == faults


@pytest.mark.parametrize(("by", "equal"), [(5e-7, True), (2e-6, False)])
@pytest.mark.parametrize("size", [1000.0, 1e-6])
def test_a_value_may_differ_by_a_millionth_of_the_largest(
    size: float, by: float, equal: bool
) -> None:
    """Terms of a thousand may sum to almost nothing, and keep the digits of a thousand."""
    recorded = [{"answer": {"value": value}} for value in (-size, size / 1e6)]
    largest = golden.largest_value(recorded)
    for item in recorded:
        value = item["answer"]["value"]
        assert golden.equal({"value": value + by * size}, {"value": value}, largest) == equal


def test_an_answer_with_another_form_is_a_fault(
    url: str, expected: Golden, trained: Trained
) -> None:
    expected[0]["answer"] = {"value": 1.0}
    assert len(golden.check(url, expected, trained.digest)) == 2


def test_a_refused_row_is_a_fault(url: str, expected: Golden, trained: Trained) -> None:
    expected[0]["row"]["mean radius"] = None
    faults = golden.check(url, expected, trained.digest)
    assert faults[0].startswith("golden row 0: 422")
    assert "mean radius" in faults[0]


def test_another_model_behind_the_address_is_a_fault(url: str, expected: Golden) -> None:
    (fault,) = golden.check(url, expected, "sha256:other")
    assert "expected sha256:other" in fault


def test_nothing_to_ask_is_a_fault(url: str, trained: Trained) -> None:
    assert golden.check(url, [], trained.digest) != []


def test_a_refused_connection_is_one_fault(expected: Golden) -> None:
    closed = serving_process.listen("127.0.0.1", 0)
    port = closed.getsockname()[1]
    closed.close()
    (fault,) = golden.check(f"http://127.0.0.1:{port}", expected, "d")
    assert "gave no answer" in fault


def test_a_service_that_hangs_is_one_fault(expected: Golden) -> None:
    with serving_process.listen("127.0.0.1", 0) as silent:  # the kernel accepts, nobody answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (fault,) = golden.check(url, expected, "d", timeout=0.2)
    assert "gave no answer: timed out" in fault
