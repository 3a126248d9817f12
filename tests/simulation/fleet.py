"""
Worker processes and repair tools of the simulation: the real ones, on simulated clients.

`worker.bootstrap` builds them as in production. Only its telemetry, which is not under test and takes most of
the time, and its decoder processes are replaced.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from functools import lru_cache
from typing import Any, Final, cast
from zlib import crc32

import structlog

from tests.simulation.chance import Chance
from tests.simulation.decoders import SimulatedPool
from tests.simulation.loop import ProcessLoop
from tests.simulation.network import Network, Service
from worker import bootstrap
from worker.bootstrap import Clients
from worker.recipe_settings import recipe_builder_from
from worker.settings import Settings
from worker.sqs import heartbeat

LEASE_S: Final = 60
MAX_RECEIVES: Final = 5


@lru_cache
def settings(version: int, processes: int, *, moves_results: bool = False) -> Settings:
    """Return the settings of a version of the worker; the second makes other renditions, with other keys."""
    more: dict[str, Any] = {"quality": 70, "record_delay_ms": 0} if version > 1 else {}
    if version > 1 and moves_results:
        more["result_key"] = "{prefix}{userId}/{imageId}/{version}{@size}.{ext}"
    return Settings(
        region="eu-west-1",
        processes=processes,
        concurrency=4 * processes,
        visibility_timeout_s=LEASE_S,
        max_receives=MAX_RECEIVES,
        extra_sizes=["thumbnail"],
        http_port=0,
        _env_file=None,
        **more,
    )


class Client:
    """
    A client of a service, in one process; its methods are the operations.

    Args:
        network: Carries the requests.
        process: The process that the client belongs to.
        service: The service.
    """

    def __init__(self, network: Network, process: ProcessLoop, service: Service) -> None:
        self._network, self._process, self._service = network, process, service

    def __getattr__(self, operation: str) -> Callable[..., Awaitable[Any]]:
        if operation.startswith("_"):
            raise AttributeError(operation)
        network, process, service = self._network, self._process, self._service

        def call(**parameters: Any) -> Awaitable[Any]:
            return network.send(process, service, operation, parameters)

        setattr(self, operation, call)
        return call


def clients_of(
    network: Network, process: ProcessLoop, *, s3: Service, sqs: Service, dynamodb: Service
) -> Clients:
    """Return the clients of a process."""
    queue = cast("Any", Client(network, process, sqs))
    return Clients(
        s3=cast("Any", Client(network, process, s3)),
        sqs=queue,
        polling=queue,
        dynamodb=cast("Any", Client(network, process, dynamodb)),
    )


class _Nothing:
    """An object on which every method does nothing, and every attribute is such an object."""

    def __getattr__(self, _: str) -> "_Nothing":
        return self

    def __call__(self, *_: object, **__: object) -> Any:
        return self


class _SilentObservation(_Nothing):
    def step(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()


_OBSERVATION: Final = _SilentObservation()


class _SilentObserver:
    """Implements `worker.delivery.ports.Observer` without metrics, traces and log lines."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def received(self, message: object) -> None:
        pass

    def observing(self, job: Any, message: object) -> AbstractContextManager[Any]:
        return nullcontext(_OBSERVATION)


async def _idle(*_: object, **__: object) -> None:
    """Replace a background task that only measures."""
    await asyncio.get_running_loop().create_future()


class _Readiness(_Nothing):
    def __init__(self, *_: object) -> None:
        pass

    async def probe(self, *_: object) -> None:
        await _idle()


@asynccontextmanager
async def _no_endpoint(**_: object) -> AsyncIterator[None]:
    yield


class Simulated:
    """What the replaced parts of `worker.bootstrap` need to know of the process that is being built."""

    chance: Chance
    kill: Callable[[ProcessLoop], None]


def _pool(built_for: Settings) -> SimulatedPool:
    process = _current_process()
    return SimulatedPool(
        processes=built_for.processes, chance=Simulated.chance, kill_worker=lambda: Simulated.kill(process)
    )


def _current_process() -> ProcessLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ProcessLoop)
    return loop


@lru_cache
def _recipes_of(version: int) -> Any:
    """Return the function that returns recipes, which takes a while to build."""
    return recipe_builder_from(settings(version, 1))


_REPLACED: Final[dict[str, Any]] = {
    "recipe_builder_from": lambda of: _recipes_of(2 if of.quality == settings(2, 1).quality else 1),
    "Metrics": _Nothing,
    "Readiness": _Readiness,
    "Observer": _SilentObserver,
    "watch_calls": lambda *_, **__: None,
    "measure_lag": _idle,
    "measure_queue": _idle,
    "endpoint": _no_endpoint,
    "build_decoder_pool": _pool,
    "worker_id": lambda: _current_process().name,
    "_export_gauges": lambda *_, **__: None,
    "_log_confinement": lambda *_, **__: None,
}


@contextmanager
def replaced() -> Iterator[None]:
    """Replace the telemetry and the decoders of workers, and silence their log."""
    original = {name: getattr(bootstrap, name) for name in _REPLACED}
    hash_of_hold = heartbeat.Hold.__hash__
    config = structlog.get_config()
    try:
        for name, value in _REPLACED.items():
            setattr(bootstrap, name, value)
        hold: Any = heartbeat.Hold  # sets of holds are otherwise ordered by their addresses
        hold.__hash__ = lambda self: crc32(self.message.receipt_handle.encode())
        structlog.configure(wrapper_class=_SilentLogger, cache_logger_on_first_use=False)
        yield
    finally:
        structlog.configure(**config)
        hold.__hash__ = hash_of_hold
        for name, value in original.items():
            setattr(bootstrap, name, value)


class _SilentLogger(structlog.BoundLoggerBase):
    """A logger that drops every line; the trace of a simulation shows more."""

    def debug(self, event: str, **_: object) -> None:
        pass

    info = warning = error = exception = debug


async def run_worker(clients: Clients, of: Settings, started: "Callable[[Any], None]") -> None:
    """Run a worker process until it is stopped."""
    async with bootstrap.open_consumer(of, clients) as consumer:
        started(consumer)
        await consumer.run()
