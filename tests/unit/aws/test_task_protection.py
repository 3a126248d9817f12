"""Scale-in protection, against an agent on a real socket."""

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
    """The endpoint that ECS puts into each task."""

    status: int = 200
    answers: dict[str, Any] = field(default_factory=lambda: {"protection": {}})
    told: "asyncio.Queue[dict[str, Any]]" = field(default_factory=asyncio.Queue)

    async def answer(self, request: web.Request) -> web.Response:
        self.told.put_nowait(await request.json())
        return web.json_response(self.answers, status=self.status)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            return await self.told.get()


@asynccontextmanager
async def protected(
    agent: Agent, *, busy_s: float = 0.0, again_s: float = 60.0
) -> AsyncIterator[ScaleInProtection]:
    app = web.Application()
    app.router.add_put("/task-protection/v1/state", agent.answer)
    async with TestServer(app) as server:
        protection = ScaleInProtection(str(server.make_url("/")), busy_s=busy_s, again_s=again_s)
        running = asyncio.create_task(protection.run())
        try:
            yield protection
        finally:
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled()


ON = {"ProtectionEnabled": True, "ExpiresInMinutes": 10}
OFF = {"ProtectionEnabled": False}


async def test_a_task_is_protected_while_messages_are_in_hand_and_no_longer() -> None:
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

    assert agent.told.empty()


async def test_protection_that_has_expired_is_asked_for_again_while_the_work_goes_on() -> None:
    agent = Agent()
    async with protected(agent, again_s=0.01) as protection:
        protection.in_flight(1)
        assert [await agent.next() for _ in range(3)] == [ON, ON, ON]


async def test_a_picture_now_and_then_protects_nobody() -> None:
    agent = Agent()
    async with protected(agent, busy_s=60) as protection:
        for _ in range(3):
            protection.in_flight(1)
            await asyncio.sleep(0)
            protection.in_flight(0)
            await asyncio.sleep(0)

    assert agent.told.empty()


async def test_a_worker_that_stops_gives_the_protection_up() -> None:
    agent = Agent()
    async with protected(agent) as protection:
        protection.in_flight(1)
        await agent.next()

    assert agent.told.get_nowait() == OFF


async def test_an_idle_worker_never_asks() -> None:
    agent = Agent()
    async with protected(agent) as protection:
        protection.in_flight(0)
        await asyncio.sleep(0)

    assert agent.told.empty()


@pytest.mark.parametrize(
    "agent", [Agent(status=500), Agent(answers={"failure": {"Reason": "DEPLOYMENT_BLOCKED"}})]
)
async def test_an_agent_that_refuses_is_told_of_in_the_log_and_stops_nothing(agent: Agent) -> None:
    with capture_logs() as lines:
        async with protected(agent) as protection:
            protection.in_flight(1)
            await agent.next()
            protection.in_flight(0)
            await agent.next()

    assert [line["event"] for line in lines][:1] == ["protection.refused"]
