"""One image does not own the next: decoders that an image has taken over, and processes that are killed."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest
from PIL import Image

from tests.chaos.processes import children_of
from tests.hostile.tampering import MARK
from tests.support.pictures import encoded, opened
from tests.support.pools import (
    ALL_OUTPUTS,
    HEAVY,
    HEAVY_PNG,
    RECIPE,
    SMALL_JPEG,
    busy_pid,
    files_of,
    make_pool,
    open_files,
    outputs_of,
    process_exists,
    until,
    wait_for_exit,
)
from worker.decoder_pool.pool import DecoderPool
from worker.decoder_pool.supervisor import Replacement, Reuse, ReusePolicy
from worker.domain.errors import RejectedError
from worker.domain.step import EncodedRendition

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and forks decoders")

GREEN = encoded(Image.new("RGB", (64, 48), "lime"), "PNG")
RED = encoded(Image.new("RGB", (64, 48), "red"), "PNG")
PAINT_EVERYTHING_RED = f"""
import worker.imaging.decoder as decoder
genuine = decoder.process
decoder.process = lambda content, *arguments, **options: genuine({RED!r}, *arguments, **options)
"""
TAKE_OVER = GREEN + MARK + PAINT_EVERYTHING_RED.encode()
TAKE_OVER_AND_REJECT = b"not an image" + MARK + PAINT_EVERYTHING_RED.encode()
MODES = [pytest.param(reuse, id=reuse.value) for reuse in Reuse]
STRICT = [pytest.param(reuse, id=reuse.value) for reuse in (Reuse.SAME_USER, Reuse.NEVER)]


@pytest.fixture
def decoders_run_uploads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make decoders execute the code in an upload, as if it had exploited a library."""
    executable = tmp_path / "python"
    executable.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.hostile.tampering "$@"\n')
    executable.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(executable))


@asynccontextmanager
async def pool_with(reuse: Reuse, *, processes: int = 1) -> AsyncIterator[DecoderPool]:
    """Run a pool, and check at its end that it leaves no process, zombie, file or task."""
    files, children = open_files(), set(children_of(os.getpid()))
    async with make_pool(processes=processes, policy=ReusePolicy(reuse=reuse)) as pool:
        yield pool
    assert set(children_of(os.getpid())) <= children
    assert zombies() == []
    assert open_files() == files


def zombies() -> list[int]:
    """Return the ids of the children of this process that have ended and are not reaped."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state == "Z" and int(parent) == os.getpid():
                found.append(int(folder.name))
    return found


async def colour_of_next(pool: DecoderPool, *, user_id: str) -> str:
    """Process a green image, and return the colour of its rendition."""
    outputs = await outputs_of(pool, GREEN, user_id=user_id)
    assert len(outputs) == ALL_OUTPUTS
    rendition = next(output for output in outputs if isinstance(output, EncodedRendition))
    pixel = opened(rendition.content).convert("RGB").getpixel((2, 2))
    assert isinstance(pixel, tuple)
    return "green" if pixel[1] > pixel[0] else "red"


@pytest.mark.usefixtures("decoders_run_uploads")
@pytest.mark.parametrize(
    ("reuse", "same_user", "other_user"),
    [
        pytest.param(Reuse.BATCH, "red", "red", id="batch"),
        pytest.param(Reuse.SAME_USER, "red", "green", id="same-user"),
        pytest.param(Reuse.NEVER, "green", "green", id="never"),
    ],
)
async def test_an_image_that_takes_over_its_decoder_alters_only_images_that_may_reuse_it(
    reuse: Reuse, same_user: str, other_user: str
) -> None:
    async with pool_with(reuse) as pool:
        await outputs_of(pool, TAKE_OVER, user_id="attacker")
        assert await colour_of_next(pool, user_id="attacker") == same_user
        for number in range(4):
            assert await colour_of_next(pool, user_id=f"victim-{number}") == other_user


@pytest.mark.usefixtures("decoders_run_uploads")
@pytest.mark.parametrize("reuse", MODES)
async def test_a_decoder_that_reports_a_rejection_is_not_used_again(reuse: Reuse) -> None:
    async with pool_with(reuse) as pool:
        with pytest.raises(RejectedError):
            await outputs_of(pool, TAKE_OVER_AND_REJECT, user_id="attacker")
        assert await colour_of_next(pool, user_id="attacker") == "green"
        assert await colour_of_next(pool, user_id="victim") == "green"


@pytest.mark.parametrize("reuse", MODES)
async def test_a_stream_of_corrupt_uploads_starts_no_interpreters(reuse: Reuse) -> None:
    corrupt = SMALL_JPEG[: len(SMALL_JPEG) // 2]
    async with pool_with(reuse, processes=2) as pool:
        results = await asyncio.gather(
            *(outputs_of(pool, corrupt, user_id=f"user-{number % 3}") for number in range(24)),
            return_exceptions=True,
        )
        assert {type(result).__bases__[0] for result in results} == {RejectedError}
        assert pool.replacements == {Replacement.NOT_INTACT: 24}
        assert pool.interpreter_starts == 1


async def test_a_decoder_is_kept_for_its_user_while_others_are_served() -> None:
    async with pool_with(Reuse.SAME_USER) as pool:
        for user_id in ("ann", "ben", "ann", "ben", "ann", "ben"):
            await outputs_of(pool, SMALL_JPEG, user_id=user_id)
        assert pool.restarts == 0
        await outputs_of(pool, SMALL_JPEG, user_id="cy")
        assert pool.replacements == {Replacement.NEXT_USER: 1}


@pytest.mark.parametrize("reuse", MODES)
async def test_images_survive_the_death_of_the_zygote(reuse: Reuse) -> None:
    async with pool_with(reuse, processes=2) as pool:
        for _ in range(2):
            images = [
                asyncio.create_task(outputs_of(pool, SMALL_JPEG, user_id=str(number))) for number in range(8)
            ]
            await until(lambda: pool.busy > 0 or all(image.done() for image in images))  # noqa: B023 - awaited here
            if pool.zygote_pid is not None:
                with suppress(ProcessLookupError):  # killed before, and no fork has been needed since
                    os.kill(pool.zygote_pid, signal.SIGKILL)
            assert {len(outputs) for outputs in await asyncio.gather(*images)} == {ALL_OUTPUTS}
        with pytest.raises(RejectedError):
            await outputs_of(pool, b"not an image")
        assert {len(await outputs_of(pool, SMALL_JPEG)) for _ in range(4)} == {ALL_OUTPUTS}
        await until(lambda: pool.interpreter_starts > 1)


async def test_an_image_in_a_decoder_survives_the_death_of_the_zygote() -> None:
    async with (
        pool_with(Reuse.NEVER) as pool,
        aclosing(pool.run(HEAVY_PNG, HEAVY, user_id="user")) as outputs,
    ):
        await anext(outputs)
        decoder = busy_pid(pool)
        assert pool.zygote_pid is not None
        os.kill(pool.zygote_pid, signal.SIGKILL)
        assert len([output async for output in outputs]) == 3
        assert decoder not in pool.pids


@pytest.mark.parametrize("reuse", STRICT)
async def test_idle_decoders_that_are_killed_fail_no_image(reuse: Reuse) -> None:
    async with pool_with(reuse, processes=2) as pool:
        for number in range(6):
            for pid in pool.pids:
                with suppress(ProcessLookupError):  # it has been replaced already
                    os.kill(pid, signal.SIGKILL)
            assert len(await outputs_of(pool, SMALL_JPEG, user_id=str(number))) == ALL_OUTPUTS
        assert pool.interpreter_starts == 1


@pytest.mark.parametrize("reuse", MODES)
async def test_the_death_of_the_worker_ends_the_zygote_and_its_forks(reuse: Reuse) -> None:
    script = (
        "import asyncio\n"
        "from tests.support.pools import SMALL_JPEG, make_pool, outputs_of\n"
        "from worker.decoder_pool.supervisor import Reuse, ReusePolicy\n"
        "async def main():\n"
        f"    async with make_pool(processes=2, policy=ReusePolicy(reuse=Reuse({reuse.value!r}))) as pool:\n"
        "        print('zygote', pool.zygote_pid, flush=True)\n"
        "        for number in range(10_000):\n"
        "            await asyncio.gather(*(outputs_of(pool, b'no', user_id=str(n)) for n in range(4)),\n"
        "                                 return_exceptions=True)\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).parents[2]
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script), stdout=subprocess.PIPE, cwd=root, env={"PYTHONPATH": str(root)}
    )
    assert worker.stdout is not None
    line = b""
    while not line.startswith(b"zygote "):
        line = await worker.stdout.readline()
    await until(lambda: len(children_of(worker.pid)) > 1)
    children = children_of(worker.pid)
    watched = [pidfd for pid in children if (pidfd := open_pidfd(pid)) is not None]
    worker.kill()  # while decoders are being forked
    await worker.wait()
    for pidfd in watched:
        await wait_for_exit(pidfd)
    assert int(line.split()[1]) in children
    await until(lambda: not any(process_exists(pid) for pid in children))


def open_pidfd(pid: int) -> int | None:
    """Return a pidfd; None if the process has ended."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


async def test_forks_do_not_grow_the_zygote_or_the_worker() -> None:
    async with pool_with(Reuse.NEVER) as pool:
        for number in range(20):
            await outputs_of(pool, SMALL_JPEG, RECIPE, user_id=str(number))
        await until(lambda: pool.alive == 1)
        assert pool.zygote_pid is not None
        before = [private_bytes(pool.zygote_pid), open_files()]
        files = files_of(pool.zygote_pid)
        for number in range(40):
            await outputs_of(pool, SMALL_JPEG, RECIPE, user_id=str(number))
        await until(lambda: pool.alive == 1)
        assert private_bytes(pool.zygote_pid) - before[0] < 512 * 1024
        await until(lambda: open_files() == before[1])  # a fork that has just been started has one more
        assert files_of(pool.zygote_pid) == files


def private_bytes(pid: int) -> int:
    """Return the anonymous memory of a process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("RssAnon:"))
    return 1024 * int(line.split()[1])
