import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from worker.aws.task_protection import ScaleInProtection


@dataclass
class Agent:
    """Fake of the ECS agent's endpoint, on a real socket."""

    status: int = 200
    response: dict[str, Any] = field(default_factory=lambda: {"protection": {}})
    requests: "asyncio.Queue[dict[str, Any]]" = field(default_factory=asyncio.Queue)

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.put_nowait(await request.json())
        return web.json_response(self.response, status=self.status)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            return await self.requests.get()


@asynccontextmanager
async def protected(
    agent: Agent, *, busy_s: float = 0.0, renew_s: float = 60.0
) -> AsyncIterator[ScaleInProtection]:
    app = web.Application()
    app.router.add_put("/task-protection/v1/state", agent.handle)
    async with TestServer(app) as server:
        protection = ScaleInProtection(str(server.make_url("/")), busy_s=busy_s, renew_s=renew_s)
        running = asyncio.create_task(protection.run())
        try:
            yield protection
        finally:
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled()


ON = {"ProtectionEnabled": True, "ExpiresInMinutes": 10}
OFF = {"ProtectionEnabled": False}


async def test_a_task_is_protected_while_messages_are_in_flight() -> None:
    agent = Agent()
    async with protected(agent) as protection:
        protection.in_flight(1)
        assert await agent.next() == ON
        protection.in_flight(2)
        protection.in_flight(0)
        assert await agent.next() == OFF
        protection.in_flight(1)
        assert await agent.next() == ON
        protection.in_flight(0)
        assert await agent.next() == OFF

    assert agent.requests.empty()


async def test_protection_is_renewed_while_the_worker_is_busy() -> None:
    agent = Agent()
    async with protected(agent, renew_s=0.01) as protection:
        protection.in_flight(1)
        assert [await agent.next() for _ in range(3)] == [ON, ON, ON]


async def test_short_bursts_of_messages_do_not_protect_the_task() -> None:
    agent = Agent()
    async with protected(agent, busy_s=60) as protection:
        for _ in range(3):
            protection.in_flight(1)
            await asyncio.sleep(0)
            protection.in_flight(0)
            await asyncio.sleep(0)

    assert agent.requests.empty()


async def test_a_worker_that_stops_removes_the_protection() -> None:
    agent = Agent()
    async with protected(agent) as protection:
        protection.in_flight(1)
        await agent.next()

    assert agent.requests.get_nowait() == OFF


async def test_an_idle_worker_makes_no_request() -> None:
    agent = Agent()
    async with protected(agent) as protection:
        protection.in_flight(0)
        await asyncio.sleep(0)

    assert agent.requests.empty()


@pytest.mark.parametrize(
    "agent", [Agent(status=500), Agent(response={"failure": {"Reason": "DEPLOYMENT_BLOCKED"}})]
)
async def test_a_request_that_the_agent_rejects_is_logged_and_has_no_other_effect(agent: Agent) -> None:
    with capture_logs() as lines:
        async with protected(agent) as protection:
            protection.in_flight(1)
            await agent.next()
            protection.in_flight(0)
            await agent.next()

    assert [line["event"] for line in lines][:1] == ["task_protection.update_failed"]
