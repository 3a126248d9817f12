"""Measure the lag of the event loop."""

import asyncio
from typing import Final

from worker.telemetry.metrics import Metrics

_INTERVAL_S: Final = 0.1


async def measure_lag(metrics: Metrics) -> None:
    """Measure until cancelled how late the event loop runs a callback that is due."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _INTERVAL_S
        await asyncio.sleep(_INTERVAL_S)
        metrics.loop_lag_seconds.observe(max(0.0, loop.time() - due))
