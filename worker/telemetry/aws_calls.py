"""Every call of AWS, counted and timed where the client makes it."""

import time
from typing import Any, Final

from worker.aws.errors import error_code, is_expected_error, is_throttled
from worker.aws.retry import IS_RETRY
from worker.telemetry.metrics import Metrics
from worker.telemetry.readiness import Readiness
from worker.telemetry.traces import Tracing

_LOOKS: Final = {"HeadBucket"}
"""Calls that are only made to see whether the thing is there: 404 is an answer, and the bucket is missing."""


def watch_calls(client: Any, *, metrics: Metrics, tracing: Tracing, readiness: Readiness) -> None:  # noqa: ANN401
    """
    Tell the metrics, the traces and the readiness of each call that the client makes.

    The one place through which every call passes is `_make_api_call`, which OpenTelemetry's and X-Ray's own
    instrumentations wrap too: botocore's events never hear of a call that its caller abandons.
    """
    make = client._make_api_call  # noqa: SLF001 - see above
    service: str = client.meta.service_model.service_name

    async def observed(operation: str, parameters: Any) -> Any:  # noqa: ANN401 - as botocore has it
        if IS_RETRY.get():
            metrics.aws_retries.labels(service, operation).inc()
        code, began = "Abandoned", time.monotonic()
        try:
            with tracing.span(f"{service}.{operation}"):
                answer = await make(operation, parameters)
            code = "OK"
        except Exception as error:
            code = error_code(error)
            if is_throttled(error):
                metrics.aws_throttles.labels(service, operation).inc()
            if is_expected_error(error) and operation not in _LOOKS:
                readiness.answered(service)
            raise
        else:
            readiness.answered(service)
            return answer
        finally:
            metrics.aws_calls.labels(service, operation, code).inc()
            metrics.aws_call_seconds.labels(service, operation).observe(time.monotonic() - began)

    client._make_api_call = observed  # noqa: SLF001 - see above
