"""Streams of server-sent events: what a page gets, and what bounds a stream."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from worker.console.live.latest import Latest
from worker.console.live.streams import Feed, Streams


@dataclass(frozen=True)
class State:
    """What a part of a page shows."""

    position: int
    text: str = ""
    problem: str | None = None
    is_final: bool = False


@dataclass
class Page:
    """A server with one live page, and the parts that it shows."""

    streams: Streams
    parts: list[Latest[State]]
    url: str
    session: aiohttp.ClientSession
    server: BaseTestServer
    rendered: list[str] = field(default_factory=list)

    def open(
        self, *, query: str = "", last_event_id: str | None = None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        return self.session.get(self.url + query, headers=headers)


@asynccontextmanager
async def live_page(streams: Streams | None = None, *, parts: int = 1) -> AsyncIterator[Page]:
    streams = streams or Streams(check_s=0.01)
    values: list[Latest[State]] = [Latest() for _ in range(parts)]
    rendered: list[str] = []

    def render(state: State) -> str:
        rendered.append(state.text)
        return f"<p>{state.text}</p>"

    def feeds() -> list[Feed[State]]:
        return [
            Feed(
                name=f"part-{number}",
                latest=value,
                render=render,
                position=lambda state: state.position,
                is_final=lambda state: state.is_final,
                problem=lambda state: state.problem,
            )
            for number, value in enumerate(values)
        ]

    async def handle(request: web.Request) -> web.StreamResponse:
        return await streams.send(request, feeds())

    async def shut_down(_: web.Application) -> None:
        streams.close()

    app = web.Application()
    app.router.add_get("/events", handle)
    app.on_shutdown.append(shut_down)
    async with TestServer(app, shutdown_timeout=5.0) as server, aiohttp.ClientSession() as session:
        yield Page(streams, values, str(server.make_url("/events")), session, server, rendered)


async def next_block(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Return the fields of the next event, or its comment under an empty name."""
    fields: dict[str, str] = {}
    async with asyncio.timeout(10):
        while line := (await response.content.readline()).decode().rstrip("\n"):
            name, _, value = line.partition(":")
            fields[name] = f"{fields[name]}\n{value.strip()}" if name in fields else value.strip()
    return fields


async def next_event(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Return the fields of the next event."""
    while "event" not in (fields := await next_block(response)):
        pass
    return fields


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_page_gets_the_snapshot_and_then_every_change_with_its_position_as_id() -> None:
    async with live_page() as page:
        page.parts[0].publish(State(3, "three"))
        async with page.open() as response:
            assert response.content_type == "text/event-stream"
            assert response.headers["Cache-Control"] == "no-store"
            assert await next_event(response) == {"id": "3", "event": "part-0", "data": "<p>three</p>"}
            page.parts[0].publish(State(5, "five"))
            assert await next_event(response) == {"id": "5", "event": "part-0", "data": "<p>five</p>"}


async def test_the_id_has_the_position_of_each_part_of_the_page() -> None:
    async with live_page(parts=2) as page:
        page.parts[0].publish(State(3, "a"))
        page.parts[1].publish(State(7, "b"))
        async with page.open() as response:
            assert (await next_event(response))["id"] == "3.0"
            assert (await next_event(response))["id"] == "3.7"


@pytest.mark.parametrize("where", ["header", "query"])
async def test_a_page_that_has_the_final_state_already_is_not_sent_it_again(where: str) -> None:
    async with live_page() as page:
        page.parts[0].publish(State(9, "completed", is_final=True))
        opened = page.open(last_event_id="9") if where == "header" else page.open(query="?after=9")
        async with opened as response:
            await until(lambda: page.streams.open == 1)
            page.parts[0].publish(State(10, "reprocessed"))
            assert (await next_event(response))["data"] == "<p>reprocessed</p>"


@pytest.mark.parametrize("known", ["8", "nonsense", "9.9", "-9", "٩", "9" * 100, "9.", ""])
async def test_a_page_that_is_behind_or_names_no_position_of_ours_gets_the_snapshot(known: str) -> None:
    async with live_page() as page:
        page.parts[0].publish(State(9, "completed", is_final=True))
        async with page.session.get(page.url, params={"after": known}) as response:
            assert (await next_event(response))["data"] == "<p>completed</p>"


async def test_a_page_at_the_same_position_of_an_image_in_progress_gets_the_snapshot() -> None:
    async with live_page() as page:
        page.parts[0].publish(State(9, "a new file name"))
        async with page.open(last_event_id="9") as response:
            assert (await next_event(response))["data"] == "<p>a new file name</p>"


async def test_a_change_that_the_page_does_not_show_is_not_sent() -> None:
    async with live_page() as page:
        page.parts[0].publish(State(1, "same"))
        async with page.open() as response:
            await next_event(response)
            page.parts[0].publish(State(2, "same"))
            await until(lambda: len(page.rendered) == 2)
            page.parts[0].publish(State(3, "other"))
            assert (await next_event(response))["data"] == "<p>other</p>"


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "\n\nevent: problem\ndata: x", "\r", "a\x85b\u2028c"])
async def test_line_breaks_in_the_content_cannot_start_an_event_of_their_own(text: str) -> None:
    async with live_page() as page:
        page.parts[0].publish(State(1, text))
        async with page.open() as response:
            event = await next_event(response)
            assert event.keys() == {"id", "event", "data"}
            assert event["event"] == "part-0"
            page.parts[0].publish(State(2, "next"))
            assert (await next_event(response))["data"] == "<p>next</p>"


async def test_a_problem_is_an_event_of_its_own_and_its_end_is_too() -> None:
    async with live_page(parts=2) as page:
        page.parts[0].publish(State(1, "a"))
        page.parts[1].publish(State(1, "b"))
        async with page.open() as response:
            await next_event(response)
            await next_event(response)
            page.parts[1].publish(State(1, "b", problem="The table is unavailable."))
            assert await next_event(response) == {
                "id": "1.1",
                "event": "problem",
                "data": "The table is unavailable.",
            }
            page.parts[1].publish(State(1, "b"))
            assert (await next_event(response))["data"] == ""


async def test_a_problem_is_sent_as_text() -> None:
    async with live_page() as page:
        page.parts[0].publish(State(1, "a", problem="<b>\x1b[31m\nevent: part-0\ndata: x"))
        async with page.open() as response:
            await next_event(response)
            problem = await next_event(response)
            assert problem.keys() == {"id", "event", "data"}
            assert problem["data"].startswith("&lt;b&gt;\N{REPLACEMENT CHARACTER}[31m")


async def test_a_stream_ends_after_its_maximum_age_and_the_next_one_continues() -> None:
    async with live_page(Streams(check_s=0.01, max_age_s=0.05)) as page:
        page.parts[0].publish(State(9, "completed", is_final=True))
        async with page.open() as response:
            event = await next_event(response)
            assert await response.content.read() == b"", "it ends as a whole response"
        async with page.open(last_event_id=event["id"]) as response:
            assert await next_block(response) == {"retry": "2000"}
            assert await response.content.read() == b""


async def test_a_silent_stream_sends_comments() -> None:
    async with live_page(Streams(check_s=0.01, keep_alive_s=0.02)) as page, page.open() as response:
        assert await next_block(response) == {"retry": "2000"}
        assert await next_block(response) == {"": "the stream is alive"}
        assert await next_block(response) == {"": "the stream is alive"}


async def test_a_stream_ends_soon_after_its_page_is_closed() -> None:
    async with live_page() as page, page.open() as response:
        await next_block(response)
        assert page.streams.open == 1
        response.close()
        await until(lambda: page.streams.open == 0)


async def test_more_streams_than_the_limit_are_rejected_until_one_ends() -> None:
    async with live_page(Streams(max_streams=1, check_s=0.01)) as page:
        async with page.open() as first:
            await next_block(first)
            async with page.open() as second:
                assert second.status == 503
                assert second.headers["Retry-After"]
            first.close()
            await until(lambda: page.streams.open == 0)
        async with page.open() as third:
            assert third.status == 200


async def test_a_slow_reader_skips_states_and_delays_no_other() -> None:
    async with live_page() as page:
        page.parts[0].publish(State(0, "first"))
        async with page.open() as slow, page.open() as fast:
            await next_event(slow)
            await next_event(fast)
            for number in range(1, 100):
                page.parts[0].publish(State(number, f"{number:03d}" * 100_000))
                assert (await next_event_of_any_size(fast))[-3:] == f"{number:03d}"
            # The slow reader got the first of these, and the server keeps none of the others for it.
            assert len(page.rendered) < 150
            page.parts[0].publish(State(100, "last"))
            assert await events_until(slow, "<p>last</p>") < 50


async def next_event_of_any_size(response: aiohttp.ClientResponse) -> str:
    """Return the end of the data of the next event."""
    text = b""
    async with asyncio.timeout(30):
        while not text.endswith(b"</p>\n\n"):
            text = (text + await response.content.readany())[-20:]
    return text.decode().removesuffix("</p>\n\n")


async def events_until(response: aiohttp.ClientResponse, end: str) -> int:
    """Read until a text, and return how many events came before its end."""
    count, tail = 0, b""
    async with asyncio.timeout(30):
        while end.encode() not in tail:
            chunk = await response.content.readany()
            count += chunk.count(b"event: ")
            tail = (tail + chunk)[-1000:]
    return count


async def test_a_reader_that_takes_too_long_is_disconnected() -> None:
    async with live_page(Streams(check_s=0.01, write_timeout_s=0.05)) as page:
        page.parts[0].publish(State(0, "x" * 20_000_000))
        async with page.open():
            await until(lambda: page.streams.open == 1)
            await until(lambda: page.streams.open == 0)


async def test_all_streams_end_within_a_second_of_the_shutdown() -> None:
    async with live_page(Streams()) as page:
        page.parts[0].publish(State(0, "x" * 20_000_000))
        async with page.open() as stalled, page.open() as other:
            await until(lambda: page.streams.open == 2)
            async with asyncio.timeout(1):
                await page.server.close()
            assert page.streams.open == 0
            stalled.close()
            other.close()
