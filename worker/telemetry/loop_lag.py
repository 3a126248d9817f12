"""How late the event loop is."""

import asyncio
from typing import Final

from worker.telemetry.metrics import Metrics

_BEAT_S: Final = 0.1


async def measure_lag(metrics: Metrics) -> None:
    """Measure, for ever, how late the loop is with what is due."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _BEAT_S
        await asyncio.sleep(_BEAT_S)
        metrics.loop_lag_seconds.observe(max(0.0, loop.time() - due))
