"""What is counted is what Prometheus reads, for all workers together."""

import os

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families

from mlrelease.serving import metrics as serving_metrics
from tests.engine.trained import Ask, Trained, send

Metrics = serving_metrics.Metrics


def values(text: str) -> dict[tuple[str | None, ...], float]:
    """Samples by name and labels; every one names the model."""
    found: dict[tuple[str | None, ...], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("digest") == "sha256:a"
            found[(sample.name, *map(labels.get, sorted(labels)))] = sample.value
    return found


def shown(metrics: Metrics) -> dict[tuple[str | None, ...], float]:
    return values(metrics.exposition()[0].decode())


def made(workers: int = 1) -> Metrics:
    return Metrics("sha256:a", {"version": "1", "runtime": "onnx"}, [0.25, 0.5], workers)


def test_requests_are_counted_by_path_and_status() -> None:
    metrics = made()
    for path, status in ((0, 200), (0, 200), (0, 422), (7, 404), (0, 299)):
        metrics.begin()
        metrics.end(path, status, 0.004)
    metrics.begin()
    found = shown(metrics)
    assert found["model_requests_total", "/predict", "200"] == 2
    assert found["model_requests_total", "/predict", "422"] == 1
    assert found["model_requests_total", "other", "404"] == 1
    assert found["model_requests_total", "/predict", "500"] == 1  # a status that nobody expects
    assert found["model_requests_in_flight",] == 1
    assert found["model_request_duration_seconds_count",] == 4
    assert found["model_request_duration_seconds_sum",] == pytest.approx(0.016)
    assert found["model_request_duration_seconds_bucket", "0.0025"] == 0
    assert found["model_request_duration_seconds_bucket", "0.005"] == 4
    assert found["model_info", "onnx", "1"] == 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.25, 0.3, 0.5, 0.75]) | st.floats(0, 1), min_size=1))
def test_predictions_one_by_one_or_together_are_the_same_histogram(scores: list[float]) -> None:
    alone, together = made(), made()
    for score in scores:
        alone.predicted(np.array([score]))
    together.predicted(np.array(scores))
    found = shown(together)
    assert found == pytest.approx(shown(alone))
    for bound in (0.25, 0.5):
        inside = sum(score <= bound for score in scores)
        assert found["model_predictions_bucket", str(bound)] == inside
    assert found["model_predictions_bucket", "+Inf"] == len(scores)
    assert found["model_predictions_sum",] == pytest.approx(sum(scores))


def test_any_worker_shows_the_sum_and_one_that_starts_again_goes_on() -> None:
    metrics = made(workers=3)
    for worker in (1, 2, 2):
        pid = os.fork()
        if not pid:
            metrics.take(worker)
            metrics.begin()  # and dies with it
            metrics.rejected("given_twice")
            metrics.dropped(5)
            os._exit(0)
        os.waitpid(pid, 0)
    found = shown(metrics)
    assert found["model_rejected_rows_total", "given_twice"] == 3
    assert found["model_prediction_log_dropped_total",] == 15
    assert found["model_requests_in_flight",] == 2
    metrics.take(2)
    assert shown(metrics)["model_requests_in_flight",] == 1
    metrics.dropped(1)
    assert shown(metrics)["model_prediction_log_dropped_total",] == 16, "a counter never falls"


def test_a_scraper_that_asks_for_open_metrics_gets_them() -> None:
    content, kind = made().exposition("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    families = open_families(content.decode())  # type: ignore[no-untyped-call]
    assert list(families)


@pytest.mark.parametrize("version", ["x", "1..0", ""])
def test_a_scraper_that_asks_for_no_version_gets_the_usual_text(version: str) -> None:
    for kind in ("text/plain", "application/openmetrics-text"):
        content, told = made().exposition(f"{kind};version={version}")
        assert told.split(";")[0] in ("text/plain", "application/openmetrics-text")
        assert b"model_info" in content


def test_bounds_that_are_close_are_told_apart() -> None:
    bounds = [2_000_000.0, 2_000_001.0, 2_000_002.0]
    found = shown(Metrics("sha256:a", {"version": "1", "runtime": "onnx"}, bounds))
    shares = [key for key in found if key[0] == "model_predictions_bucket"]
    assert len(shares) == len(bounds) + 1


def test_the_service_counts_what_it_answers_and_refuses(trained: Trained) -> None:
    service = trained.service(digest="sha256:a")
    send(service, json=trained.rows[0])
    send(service, json=trained.rows[:3])
    send(service, json={**trained.rows[0], "ward": 9})
    send(service, "GET", "/nowhere")
    response = send(service, "GET", "/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    found = values(response.text)
    assert found["model_requests_total", "/predict", "200"] == 2
    assert found["model_requests_total", "/predict", "422"] == 1
    assert found["model_requests_total", "other", "404"] == 1
    assert found["model_rejected_rows_total", "unknown_category"] == 1
    assert found["model_predictions_count",] == 4
    assert found["model_requests_in_flight",] == 1  # this one


def test_every_reason_to_refuse_is_shown_from_the_start(ask: Ask) -> None:
    text = ask("GET", "/metrics").text
    assert all(f'reason="{reason}"' in text for reason in serving_metrics.REASONS)
