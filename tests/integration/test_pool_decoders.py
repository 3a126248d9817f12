"""Real decoder processes: confined, replaced, and wait_for_exit with the worker process."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from tests.support.pools import (
    ALL_OUTPUTS,
    HEAVY,
    HEAVY_PNG,
    RECIPE,
    SMALL_JPEG,
    files_of,
    make_pool,
    only_pid,
    open_files,
    outputs_of,
    proc,
    process_exists,
    until,
    wait_for_exit,
)
from worker.decoder_pool.pool import DecoderPool
from worker.decoder_pool.supervisor import Replacement, ReusePolicy
from worker.domain.errors import (
    DecodeTimeoutError,
    NotAnImageError,
    TransientError,
)
from worker.domain.status import StepName

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
can_trace = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0,
    reason="decoders are not dumpable: only root reads their /proc",
)


@pytest.fixture
async def pool() -> AsyncIterator[DecoderPool]:
    async with make_pool() as started:
        yield started


@can_trace
async def test_a_decoder_has_no_credentials_and_few_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "another secret")
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


@can_trace
async def test_a_decoder_does_not_load_networking_libraries() -> None:
    async with make_pool() as pool:
        await outputs_of(pool, SMALL_JPEG)
        mapped = proc(only_pid(pool), "maps")
        assert b"_imaging" in mapped
        assert b"_asyncio" not in mapped
        assert b"_ssl" not in mapped


@linux_only
async def test_the_cpu_time_of_an_image_is_limited_and_exceeding_it_is_a_timeout() -> None:
    async with make_pool(step_timeout_s=7.0) as pool:
        await outputs_of(pool, SMALL_JPEG)
        limit_s = 7 * len(StepName)
        limits = proc(only_pid(pool), "limits").decode().splitlines()
        (soft,) = (line[26:47].strip() for line in limits if line.startswith("Max cpu time"))
        assert limit_s <= int(soft) <= limit_s + 3
        async with aclosing(pool.run(HEAVY_PNG, HEAVY, user_id="user")) as outputs:
            await anext(outputs)
            os.kill(only_pid(pool), signal.SIGXCPU)
            with pytest.raises(DecodeTimeoutError):
                _ = [output async for output in outputs]


@linux_only
async def test_a_decoder_whose_memory_has_grown_is_replaced() -> None:
    async with make_pool(policy=ReusePolicy(max_growth_mb=0)) as pool:
        await outputs_of(pool, HEAVY_PNG, HEAVY)
        await outputs_of(pool, SMALL_JPEG)
        assert pool.replacements == {Replacement.GROWTH: 2}
    async with make_pool(policy=ReusePolicy(max_growth_mb=1000)) as pool:
        before = only_pid(pool)
        await outputs_of(pool, HEAVY_PNG, HEAVY)
        assert only_pid(pool) == before


async def test_a_pool_whose_decoders_cannot_start_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    pool = make_pool(processes=2)
    with pytest.raises(TransientError, match="did not start"):
        await pool.start()
    assert pool.alive == 0


async def test_the_error_of_a_failed_start_contains_the_reason() -> None:
    with pytest.raises(TransientError, match=r"nowhere\.ttf"):
        await make_pool(font=Path("/nonexistent/nowhere.ttf")).start()


async def test_waiting_images_fail_as_transient_when_no_decoder_can_be_started(
    pool: DecoderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable = sys.executable
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    if pool.zygote_pid is not None:
        os.kill(pool.zygote_pid, signal.SIGKILL)
    os.kill(only_pid(pool), signal.SIGKILL)
    with pytest.raises(TransientError, match="did not start"):
        await outputs_of(pool, SMALL_JPEG)
    monkeypatch.setattr(sys, "executable", executable)
    results = await asyncio.gather(*(outputs_of(pool, SMALL_JPEG) for _ in range(2)), return_exceptions=True)
    while any(isinstance(result, TransientError) for result in results):
        results = [await outputs_of(pool, SMALL_JPEG)]
    assert {len(result) for result in results if isinstance(result, list)} == {ALL_OUTPUTS}


async def test_images_in_a_pool_that_is_stopped_fail_as_transient() -> None:
    pool = make_pool()
    await pool.start()
    async with aclosing(pool.run(HEAVY_PNG, HEAVY, user_id="user")) as outputs:
        await anext(outputs)
        waiting = asyncio.create_task(outputs_of(pool, SMALL_JPEG))
        await until(lambda: pool.waiting == 1)
        await pool.stop()
        with pytest.raises(TransientError):
            _ = [output async for output in outputs]
    with pytest.raises(TransientError):
        await waiting
    with pytest.raises(TransientError):
        await outputs_of(pool, SMALL_JPEG)


@linux_only
async def test_decoders_exit_when_the_worker_process_is_killed() -> None:
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
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, cwd=root, env={"PYTHONPATH": str(root)}
    )
    assert worker.stdout is not None
    line = b""
    while not line.startswith(b"pids "):
        line = await worker.stdout.readline()
    pids = [int(pid) for pid in line.split()[1:]]
    assert len(pids) == 2
    watched = [os.pidfd_open(pid) for pid in pids]
    worker.kill()
    await worker.wait()
    for descriptor in watched:
        await wait_for_exit(descriptor)


@linux_only
async def test_two_hundred_concurrent_images_leak_no_files_tasks_or_processes() -> None:
    before = open_files()
    async with make_pool(processes=2, policy=ReusePolicy(max_images=50)) as pool:
        contents = [SMALL_JPEG if number % 5 else b"not an image" for number in range(200)]
        done = await asyncio.gather(
            *(outputs_of(pool, content) for content in contents), return_exceptions=True
        )
        pids = pool.pids
        assert [len(result) if isinstance(result, list) else type(result) for result in done] == [
            ALL_OUTPUTS if number % 5 else NotAnImageError for number in range(200)
        ]
        assert pool.restarts >= 2
        await until(lambda: pool.busy == 0)
        assert pool.waiting == 0
    assert pool.alive == 0
    assert open_files() == before
    assert not any(process_exists(pid) for pid in pids)
    assert [task for task in asyncio.all_tasks() if task.get_name() == "decoder-supervisor"] == []


async def test_a_decoder_is_replaced_after_its_maximum_of_images() -> None:
    async with make_pool(policy=ReusePolicy(max_images=3)) as pool:
        seen = []
        for _ in range(7):
            async with aclosing(pool.run(SMALL_JPEG, RECIPE, user_id="user")) as outputs:
                await anext(outputs)
                seen.append(only_pid(pool))
                _ = [output async for output in outputs]
        assert [seen.count(pid) for pid in dict.fromkeys(seen)] == [3, 3, 1]


async def test_a_decoder_that_is_killed_while_idle_fails_no_image(pool: DecoderPool) -> None:
    await outputs_of(pool, SMALL_JPEG)
    for _ in range(5):
        killed = only_pid(pool)
        os.kill(killed, signal.SIGKILL)
        assert len(await outputs_of(pool, SMALL_JPEG)) == ALL_OUTPUTS
        assert only_pid(pool) != killed
