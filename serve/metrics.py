"""What whoever runs the server can measure, in Prometheus' form."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .engine import Engine
from .whose import SteeringDecision

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_SIMILARITIES = tuple(n / 10 for n in range(-2, 11))
_PUSHES = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)


class Metrics:
    """Counts of one server.

    Args:
        engine: What answers; its own counts are read when somebody asks.
    """

    def __init__(self, engine: Engine) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        self._requests = Counter(
            "trimtab_requests", "Requests.", ["endpoint", "status"], registry=registry
        )
        self._seconds = Histogram(
            "trimtab_request_seconds",
            "Seconds of a request.",
            ["endpoint"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._first = Histogram(
            "trimtab_first_token_seconds",
            "Seconds to an answer's first token.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._queued = Histogram(
            "trimtab_queued_seconds",
            "Seconds that a request waited for a row.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._tokens = Counter(
            "trimtab_tokens", "Tokens of answered requests.", ["kind"], registry=registry
        )
        self._steered = Counter(
            "trimtab_answers",
            "Answers by whether they were steered, and why not.",
            ["steered", "reason"],
            registry=registry,
        )
        self._similarity = Histogram(
            "trimtab_pick_similarity",
            "Cosine of a request and each entry that it picked.",
            buckets=_SIMILARITIES,
            registry=registry,
        )
        self._push = Histogram(
            "trimtab_push_size",
            "Norm of what is added at a token, at all points together.",
            buckets=_PUSHES,
            registry=registry,
        )
        self._learned = Counter(
            "trimtab_entries_learned", "Entries built of what users did.", registry=registry
        )
        self._refused = Counter(
            "trimtab_entries_refused",
            "Interactions that no entry came of, and why.",
            ["reason"],
            registry=registry,
        )
        registry.register(_OfEngine(engine))

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """A request that was answered."""
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def answer(
        self,
        steered: SteeringDecision,
        *,
        prompt_tokens: int,
        new_tokens: int,
        first_seconds: float | None,
        queued_seconds: float | None,
    ) -> None:
        """An answer of the model."""
        self._tokens.labels("prompt").inc(prompt_tokens)
        self._tokens.labels("new").inc(new_tokens)
        if first_seconds is not None:
            self._first.observe(first_seconds)
        if queued_seconds is not None:
            self._queued.observe(queued_seconds)
        block = steered.block()
        self._steered.labels(str(block.whose != "nothing").lower(), block.reason or "").inc()
        for picked in block.picked:
            self._similarity.observe(picked.similarity)
        if block.whose != "nothing":
            self._push.observe(block.push_size)

    def learned(self, entries: int) -> None:
        """Entries that were built."""
        self._learned.inc(entries)

    def refused(self, reason: str) -> None:
        """An interaction that no entry came of."""
        self._refused.labels(reason).inc()


class _OfEngine(Collector):
    """The engine's own counts, as they are when they are read."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """The counts now."""
        now = self._engine.statistics
        yield GaugeMetricFamily("trimtab_rows", "Answers under way.", now.running)
        yield GaugeMetricFamily("trimtab_queue", "Requests that wait for a row.", now.waiting)
        yield CounterMetricFamily("trimtab_steps", "Decode steps.", now.steps)
        rows = sum(size * count for size, count in now.step_rows.items())
        yield CounterMetricFamily(
            "trimtab_step_rows", "Rows of all decode steps; over steps, the batch size.", rows
        )
        yield CounterMetricFamily(
            "trimtab_kept_tokens", "Prompt tokens that had run before.", now.kept_tokens
        )
        yield CounterMetricFamily(
            "trimtab_turned_away", "Requests that found the queue full.", now.turned_away
        )
        ended = CounterMetricFamily("trimtab_ended", "Answers by how they ended.", labels=["how"])
        for how, count in now.finished.items():
            ended.add_metric([how], count)
        yield ended
