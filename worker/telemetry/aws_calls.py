"""Record metrics, traces and readiness for every AWS call of a client."""

import time
from typing import Any, Final

from worker.aws.calls import Call, Client, Output, wrap_calls
from worker.aws.errors import error_code, is_expected_error, is_throttled
from worker.aws.retry import IS_RETRY
from worker.telemetry.metrics import Metrics
from worker.telemetry.readiness import Readiness
from worker.telemetry.traces import Tracing

_PROBES: Final = {"HeadBucket"}
"""Operations for which a 404 means that the dependency itself is missing."""


def watch_calls(client: Client, *, metrics: Metrics, tracing: Tracing, readiness: Readiness) -> None:
    """Measure each call that the client makes."""
    service: str = client.meta.service_model.service_name

    def measure(operation: str, call: Call) -> Call:
        async def measured(**parameters: Any) -> Output:  # noqa: ANN401 - as the client's own method
            if IS_RETRY.get():
                metrics.aws_retries.labels(service, operation).inc()
            code, started = "Abandoned", time.monotonic()
            try:
                with tracing.span(f"{service}.{operation}"):
                    output = await call(**parameters)
                code = "OK"
            except Exception as error:
                code = error_code(error)
                if is_throttled(error):
                    metrics.aws_throttles.labels(service, operation).inc()
                if is_expected_error(error) and operation not in _PROBES:
                    readiness.record_response(service)
                raise
            else:
                readiness.record_response(service)
                return output
            finally:
                metrics.aws_calls.labels(service, operation, code).inc()
                metrics.aws_call_seconds.labels(service, operation).observe(time.monotonic() - started)

        return measured

    wrap_calls(client, measure)
