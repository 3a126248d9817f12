"""The real children of the pool: confined, replaced, and gone with their parent."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from tests.support.pools import (
    ALL_OUTCOMES,
    HEAVY,
    HEAVY_PNG,
    RECIPE,
    SMALL_JPEG,
    ended,
    files_of,
    is_there,
    make_pool,
    only_pid,
    open_files,
    outcomes_of,
    proc,
    until,
)
from worker.decoder_pool.pool import DecoderPool
from worker.domain.errors import (
    DecodeTimeoutError,
    NotAnImageError,
    TransientError,
)
from worker.domain.status import StepName

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
async def pool() -> AsyncIterator[DecoderPool]:
    async with make_pool() as started:
        yield started


@linux_only
async def test_a_child_has_no_credentials_and_little_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "very secret too")
    async with make_pool() as pool:
        pid = only_pid(pool)
        assert b"AWS_" not in proc(pid, "environ")
        assert b"secret" not in proc(pid, "environ")
        assert os.getsid(pid) == pid
        assert b"NoNewPrivs:\t1" in proc(pid, "status")
        limits = {
            line[:26].strip(): line[26:47].strip() for line in proc(pid, "limits").decode().splitlines()
        }
        assert limits["Max address space"] == str(1024 * 1024 * 1024)
        assert limits["Max core file size"] == "0"
        assert limits["Max file size"] == "0"
        assert int(limits["Max open files"]) <= 16
        assert files_of(pid) == ["/dev/null", "/dev/null", "/dev/null", "socket"]


@linux_only
async def test_a_child_knows_nothing_of_networks_and_services() -> None:
    async with make_pool() as pool:
        await outcomes_of(pool, SMALL_JPEG)
        mapped = proc(only_pid(pool), "maps")
        assert b"_imaging" in mapped
        assert b"_asyncio" not in mapped
        assert b"_ssl" not in mapped


@linux_only
async def test_a_child_can_make_no_sockets_and_start_no_programs() -> None:
    async with make_pool() as pool:
        assert b"Seccomp:\t2" in proc(only_pid(pool), "status")
    tries = (
        "import os, socket, sys\n"
        "from worker.imaging.confinement import confine\n"
        "ours, theirs = socket.socketpair()\n"
        "confine(memory_mb=1024)\n"
        "ours.sendall(b'still here')\n"
        "assert theirs.recv(100) == b'still here'\n"
        "for forbidden in (socket.socket, socket.socketpair, lambda: os.execv(sys.executable, ['python'])):\n"
        "    try:\n"
        "        forbidden()\n"
        "    except PermissionError:\n"
        "        continue\n"
        "    sys.exit(3)\n"
    )
    root = Path(__file__).parents[2]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", tries, cwd=root, env={"PYTHONPATH": str(root)}
    )
    assert await child.wait() == 0


@linux_only
async def test_a_picture_has_a_limit_of_cpu_time_and_a_child_beyond_it_is_a_timeout() -> None:
    async with make_pool(step_timeout_s=7.0) as pool:
        await outcomes_of(pool, SMALL_JPEG)
        most_s = 7 * len(StepName)
        limits = proc(only_pid(pool), "limits").decode().splitlines()
        (soft,) = (line[26:47].strip() for line in limits if line.startswith("Max cpu time"))
        assert most_s <= int(soft) <= most_s + 3
        async with aclosing(pool.run(HEAVY_PNG, HEAVY)) as outcomes:
            await anext(outcomes)
            os.kill(only_pid(pool), signal.SIGXCPU)
            with pytest.raises(DecodeTimeoutError):
                _ = [outcome async for outcome in outcomes]


@linux_only
async def test_a_child_that_has_grown_is_replaced() -> None:
    async with make_pool(decoder_growth_mb=0) as pool:
        before = only_pid(pool)
        await outcomes_of(pool, HEAVY_PNG, HEAVY)
        await outcomes_of(pool, SMALL_JPEG)
        assert only_pid(pool) != before
    async with make_pool(decoder_growth_mb=1000) as pool:
        before = only_pid(pool)
        await outcomes_of(pool, HEAVY_PNG, HEAVY)
        assert only_pid(pool) == before


async def test_a_pool_whose_children_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    pool = make_pool(processes=2)
    with pytest.raises(TransientError, match="did not start"):
        await pool.start()
    assert pool.alive == 0


async def test_the_reason_why_a_child_did_not_start_is_told() -> None:
    with pytest.raises(TransientError, match=r"nowhere\.ttf"):
        await make_pool(font=Path("/nonexistent/nowhere.ttf")).start()


async def test_pictures_wait_out_one_failed_start_and_are_then_released(
    pool: DecoderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable = sys.executable
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    os.kill(only_pid(pool), signal.SIGKILL)
    with pytest.raises(TransientError, match="did not start"):
        await outcomes_of(pool, SMALL_JPEG)
    monkeypatch.setattr(sys, "executable", executable)
    results = await asyncio.gather(*(outcomes_of(pool, SMALL_JPEG) for _ in range(2)), return_exceptions=True)
    while any(isinstance(result, TransientError) for result in results):
        results = [await outcomes_of(pool, SMALL_JPEG)]
    assert {len(result) for result in results if isinstance(result, list)} == {ALL_OUTCOMES}


async def test_a_stopped_pool_blames_no_picture() -> None:
    pool = make_pool()
    await pool.start()
    async with aclosing(pool.run(HEAVY_PNG, HEAVY)) as outcomes:
        await anext(outcomes)
        waiting = asyncio.create_task(outcomes_of(pool, SMALL_JPEG))
        await until(lambda: pool.waiting == 1)
        await pool.stop()
        with pytest.raises(TransientError):
            _ = [outcome async for outcome in outcomes]
    with pytest.raises(TransientError):
        await waiting
    with pytest.raises(TransientError):
        await outcomes_of(pool, SMALL_JPEG)


@linux_only
async def test_children_die_with_a_parent_that_is_killed() -> None:
    script = (
        "import asyncio, sys\n"
        "from tests.support.pools import make_pool\n"
        "async def main():\n"
        "    pool = make_pool(processes=2)\n"
        "    await pool.start()\n"
        "    print('pids', *pool.pids, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).parents[2]
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, cwd=root, env={"PYTHONPATH": str(root)}
    )
    assert parent.stdout is not None
    line = b""
    while not line.startswith(b"pids "):
        line = await parent.stdout.readline()
    pids = [int(pid) for pid in line.split()[1:]]
    assert len(pids) == 2
    watched = [os.pidfd_open(pid) for pid in pids]
    parent.kill()
    await parent.wait()
    for descriptor in watched:
        await ended(descriptor)


@linux_only
async def test_two_hundred_pictures_at_once_leave_nothing_behind() -> None:
    before = open_files()
    async with make_pool(processes=2, decoder_max_images=50) as pool:
        contents = [SMALL_JPEG if number % 5 else b"no picture" for number in range(200)]
        done = await asyncio.gather(
            *(outcomes_of(pool, content) for content in contents), return_exceptions=True
        )
        pids = pool.pids
        assert [len(result) if isinstance(result, list) else type(result) for result in done] == [
            ALL_OUTCOMES if number % 5 else NotAnImageError for number in range(200)
        ]
        assert pool.restarts >= 2
        await until(lambda: pool.busy == 0)
        assert pool.waiting == 0
    assert pool.alive == 0
    assert open_files() == before
    assert not any(is_there(pid) for pid in pids)
    assert [task for task in asyncio.all_tasks() if task.get_name() == "decoder-supervisor"] == []


async def test_a_child_is_replaced_after_its_number_of_pictures() -> None:
    async with make_pool(decoder_max_images=3) as pool:
        seen = []
        for _ in range(7):
            async with aclosing(pool.run(SMALL_JPEG, RECIPE)) as outcomes:
                await anext(outcomes)
                seen.append(only_pid(pool))
                _ = [outcome async for outcome in outcomes]
        assert [seen.count(pid) for pid in dict.fromkeys(seen)] == [3, 3, 1]


async def test_a_child_that_is_killed_while_idle_fails_no_picture(pool: DecoderPool) -> None:
    await outcomes_of(pool, SMALL_JPEG)
    for _ in range(5):
        killed = only_pid(pool)
        os.kill(killed, signal.SIGKILL)
        assert len(await outcomes_of(pool, SMALL_JPEG)) == ALL_OUTCOMES
        assert only_pid(pool) != killed
