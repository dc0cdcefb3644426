"""What a service counts, in memory that all its workers share: each shows the sum of all.

An anonymous mapping made before the workers are forked, one slice of numbers for each, written by
that worker only. No file to clean up, no lock to wait for.
"""

import bisect
import mmap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from mlrelease.scoring.request_rows import Reason

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

PATHS = (
    "/predict", "/healthz", "/readyz", "/metrics", "/model", "/openapi.json", "/docs", "other",
)  # fmt: skip
STATUSES = (200, 400, 401, 404, 405, 408, 413, 415, 422, 500, 503)
REASONS: tuple[str, ...] = get_args(Reason)
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
SHARES = tuple(n / 20 for n in range(1, 20))  # of probabilities


class Metrics:
    """The numbers of one worker, and the sum of all workers'.

    `info` are labels of every series or of `model_info`; `bounds` are those of the histogram
    of predictions, ascending.
    """

    def __init__(
        self,
        digest: str,
        info: Mapping[str, str],
        bounds: Sequence[float] = SHARES,
        workers: int = 1,
    ) -> None:
        self.digest, self.info, self.bounds = digest, dict(info), [float(b) for b in bounds]
        sizes = {
            "in_flight": 1,
            "log_dropped": 1,
            "requests": len(PATHS) * len(STATUSES),
            "rejected": len(REASONS),
            "seconds": len(SECONDS) + 2,  # and what is longer, and the sum
            "predictions": len(self.bounds) + 2,
        }
        self.starts, size = {}, 0
        for name, count in sizes.items():
            self.starts[name], size = (size, size + count), size + count
        self.memory = mmap.mmap(-1, size * workers * 8)
        self.all = np.frombuffer(self.memory).reshape(workers, size)
        self.requests_at, self.seconds_at = self.starts["requests"][0], self.starts["seconds"][0]
        self.rejected_at = self.starts["rejected"][0]
        self.take(0)

    def take(self, worker: int) -> None:
        """Count in the slice of this worker from now on; it may be that of a dead one."""
        size = self.all.shape[1]
        self.mine = memoryview(self.memory).cast("d")[worker * size : (worker + 1) * size]
        self.mine[0] = 0.0
        self.dropped_before = self.mine[1]  # a counter must never fall

    def begin(self) -> None:
        self.mine[0] += 1.0

    def end(self, path: int, status: int, seconds: float) -> None:
        """One request was answered; `path` is its place in `PATHS`."""
        mine = self.mine
        mine[0] -= 1.0
        mine[self.requests_at + path * len(STATUSES) + _STATUS.get(status, _FAILED)] += 1.0
        if path == 0:
            mine[self.seconds_at + bisect.bisect_left(SECONDS, seconds)] += 1.0
            mine[self.seconds_at + len(SECONDS) + 1] += seconds

    def rejected(self, reason: Reason) -> None:
        self.mine[self.rejected_at + REASONS.index(reason)] += 1.0

    def dropped(self, rows: int) -> None:
        """The prediction log of this process has dropped so many rows until now."""
        self.mine[1] = self.dropped_before + rows

    def predicted(self, scores: np.ndarray) -> None:
        """Finite scores of shape (n,) were given as answers."""
        start, end = self.starts["predictions"]
        if len(scores) == 1:
            score = float(scores[0])
            self.mine[start + bisect.bisect_left(self.bounds, score)] += 1.0
            self.mine[end - 1] += score
            return
        places = np.searchsorted(self.bounds, scores)
        for place, count in enumerate(np.bincount(places, minlength=len(self.bounds) + 1).tolist()):
            self.mine[start + place] += count
        self.mine[end - 1] += float(scores.sum())

    def sums(self, name: str) -> np.ndarray:
        """The numbers of one kind, of all workers together."""
        start, end = self.starts[name]
        total: np.ndarray = self.all[:, start:end].sum(axis=0)
        return total

    def collect(self) -> Iterator["Metric"]:
        """What `prometheus_client` writes; every series tells which model."""
        from prometheus_client.metrics_core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )
        from prometheus_client.utils import floatToGoString

        model = [self.digest]
        requests = CounterMetricFamily(
            "model_requests", "Requests answered.", labels=["digest", "path", "status"]
        )
        counts = self.sums("requests").reshape(len(PATHS), len(STATUSES))
        for path, status in zip(*np.nonzero(counts), strict=True):
            labels = [*model, PATHS[path], str(STATUSES[status])]
            requests.add_metric(labels, counts[path, status])
        yield requests
        for name, key, bounds, text in (
            ("model_request_duration_seconds", "seconds", SECONDS, "Time to answer /predict."),
            ("model_predictions", "predictions", self.bounds, "Scores of rows answered."),
        ):
            *parts, total = self.sums(key).tolist()
            family = HistogramMetricFamily(name, text, labels=["digest"])
            names = [*map(floatToGoString, bounds), "+Inf"]
            family.add_metric(model, list(zip(names, np.cumsum(parts), strict=True)), total)
            yield family
        rejected = CounterMetricFamily(
            "model_rejected_rows",
            "First bad row of each request refused, by reason.",
            labels=["digest", "reason"],
        )
        for reason, count in zip(REASONS, self.sums("rejected").tolist(), strict=True):
            rejected.add_metric([*model, reason], count)
        yield rejected
        dropped = CounterMetricFamily(
            "model_prediction_log_dropped", "Rows missing in the prediction log.", labels=["digest"]
        )
        dropped.add_metric(model, float(self.sums("log_dropped")[0]))
        yield dropped
        flight = GaugeMetricFamily(
            "model_requests_in_flight", "Requests not answered yet.", labels=["digest"]
        )
        flight.add_metric(model, float(self.sums("in_flight")[0]))
        yield flight
        build = GaugeMetricFamily("model_info", "What is served.", labels=["digest", *self.info])
        build.add_metric([*model, *self.info.values()], 1)
        yield build

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """The text for a scraper with this `Accept` header, and its content type."""
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder

        try:
            encode, kind = choose_encoder(accept)
        except (TypeError, ValueError):  # it stumbles over a version that is no version
            encode, kind = choose_encoder("")
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        content: Any = encode(registry)
        return content, kind


_STATUS = {status: place for place, status in enumerate(STATUSES)}
_FAILED = STATUSES.index(500)
