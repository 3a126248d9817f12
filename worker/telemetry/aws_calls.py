"""Metrics, traces and readiness of every AWS call, measured at the client."""

import time
from typing import Any, Final

from worker.aws.errors import error_code, is_expected_error, is_throttled
from worker.aws.retry import IS_RETRY
from worker.telemetry.metrics import Metrics
from worker.telemetry.readiness import Readiness
from worker.telemetry.traces import Tracing

_PROBES: Final = {"HeadBucket"}
"""Operations for which a 404 means that the dependency itself is missing."""


def watch_calls(client: Any, *, metrics: Metrics, tracing: Tracing, readiness: Readiness) -> None:  # noqa: ANN401 - a client of any service
    """
    Measure each call that the client makes.

    It wraps `_make_api_call`, as the instrumentations of OpenTelemetry and X-Ray do: it is the only place
    that every call passes through. botocore emits no event for a call that its caller abandons.
    """
    make_call = client._make_api_call  # noqa: SLF001 - see above
    service: str = client.meta.service_model.service_name

    async def measured(operation: str, parameters: Any) -> Any:  # noqa: ANN401 - as botocore defines it
        if IS_RETRY.get():
            metrics.aws_retries.labels(service, operation).inc()
        code, started = "Abandoned", time.monotonic()
        try:
            with tracing.span(f"{service}.{operation}"):
                response = await make_call(operation, parameters)
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
            return response
        finally:
            metrics.aws_calls.labels(service, operation, code).inc()
            metrics.aws_call_seconds.labels(service, operation).observe(time.monotonic() - started)

    client._make_api_call = measured  # noqa: SLF001 - see above
