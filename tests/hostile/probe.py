"""
Run code inside real decoders, and print what it could do: `python -m tests.hostile.probe confined`.

The program is the worker process of a pool of two decoders. It is run as an unprivileged user by
`tests/hostile/test_confinement.py`.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import platform
import resource
import socket
import sys
import tempfile
from pathlib import Path

from tests.hostile.attempts import ATTEMPTS, Attempt, Target
from tests.support.pools import make_pool, outputs_of, until
from worker.decoder_pool.pool import DecoderPool
from worker.domain.errors import CorruptError, DecoderCrashedError
from worker.imaging.seccomp import ARCHITECTURES
from worker.imaging.system_calls import decoder_policy

_LAST_NUMBER = 600
_UPROBES = {335, 336}
"""uretprobe and uprobe of x86_64, which the kernel makes itself, past filters; they end any other caller."""
_DECODERS = 2
_PR_GET_DUMPABLE = 3
ENDED = "ends the decoder"


async def run_code(pool: DecoderPool, code: str) -> object:
    """Execute code in a decoder; return its `result`, or that it ended the decoder."""
    try:
        await outputs_of(pool, code.encode())
    except CorruptError as error:
        text = str(error).partition("is corrupt: ")[2].rpartition("; save the image")[0]
        result: object = json.loads(text)
        return result
    except DecoderCrashedError as error:
        return ENDED if "signal 31" in str(error) else str(error)
    raise AssertionError(code)


async def confined() -> dict[str, object]:
    """Make every attempt in a confined decoder."""
    sys.executable = takeover_program()
    with tempfile.TemporaryDirectory() as folder:
        token = _token_file(folder)
        before = _state(folder)
        async with make_pool(processes=_DECODERS) as pool:
            results = {}
            for attempt in ATTEMPTS:
                if attempt.number is not None:
                    await until(lambda: pool.alive == _DECODERS)
                    results[attempt.title] = await run_code(pool, _code(attempt, pool, token))
            await until(lambda: pool.alive == _DECODERS)
            thread_counts = [_threads(pid) for pid in pool.pids]
            readable = {
                name: await _can_be_read(name) for name in ("environ", "mem", "fd/0", "maps", "statm")
            }
            numbers = await _numbers(pool)
            return {
                "kernel": platform.release(),
                "results": results,
                "numbers": numbers,
                "x32": await run_code(pool, "result = call(0x4000_0000 + 39)"),
                "threads": await run_code(pool, _THREAD),
                "folder": await run_code(pool, "import os; result = sorted(os.listdir('/'))"),
                "computed": await run_code(pool, "result = (lambda: 6 * 7)()"),
                "memory": await run_code(pool, "result = len(bytearray(2 * 2**30))"),
                "is_dumpable": ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0),
                "thread_counts": thread_counts,
                "readable_without_seccomp": [name for name, is_readable in readable.items() if is_readable],
                "is_unharmed": _state(folder) == before,
            }


def unconfined() -> dict[str, object]:
    """Make each harmful attempt in an unconfined process, with a parent and a sibling of the same user."""
    return {
        "results": {each.title: _in_a_family(each) for each in ATTEMPTS if each.is_harmful and each.number}
    }


_THREAD = """
import threading
try:
    threading.Thread(target=print).start()
    result = "possible"
except RuntimeError as error:
    result = str(error)
"""

_NUMBERS = """
refused = {"EPERM", "ENOSYS"}
result = [number for number in range(FIRST, LAST) if number not in SKIPPED and call(number) not in refused]
"""


def _code(attempt: Attempt, pool: DecoderPool, token: Path) -> str:
    return (
        f"target = Target(parent={os.getpid()}, sibling=next(pid for pid in {list(pool.pids)} "
        f"if pid != os.getpid()), token_file={str(token)!r}, folder={str(token.parent)!r}, "
        f"connection=CONNECTION)\nresult = by_title({attempt.title!r}).make(target)\n"
    )


async def _numbers(pool: DecoderPool) -> dict[str, object]:
    """Make every system call by its number, and compare with the policy."""
    column = ARCHITECTURES[platform.machine()].column
    policy = decoder_policy(connection=0, pid=0)
    allowed = {call.numbers[column] for call in policy.allowed}
    fatal = {call.numbers[column] for call in policy.fatal}
    code = _NUMBERS.replace("SKIPPED", repr(allowed | fatal | _UPROBES))
    passed = await run_code(pool, code.replace("FIRST", "0").replace("LAST", str(_LAST_NUMBER)))
    survived = [number for number in fatal if await run_code(pool, f"result = call({number})") != ENDED]
    return {"passed": passed, "survived": survived}


def _in_a_family(attempt: Attempt) -> str:
    """Make an attempt in a child of a new process, which has another child."""
    receiving, sending = os.pipe()
    if (parent := os.fork()) == 0:
        with contextlib.suppress(BaseException):
            _be_parent(attempt, sending)
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving) as results:
        result = results.read()
    os.waitpid(parent, 0)
    return result


def _be_parent(attempt: Attempt, sending: int) -> None:
    os.setsid()
    ends = socket.socketpair()
    parent = os.getpid()
    with tempfile.TemporaryDirectory() as folder:
        token = _token_file(folder)
        if (sibling := os.fork()) == 0:
            ends[0].recv(1)
            os._exit(0)
        if (attacker := os.fork()) == 0:
            target = Target(parent, sibling, str(token), folder, ends[1].fileno())
            os.write(sending, attempt.make(target).encode())
            os._exit(0)
        os.waitpid(attacker, 0)
        ends[1].send(b".")
        os.waitpid(sibling, 0)


def _token_file(folder: str) -> Path:
    token = Path(folder, "token")
    token.write_text("a secret")
    return token


def _state(folder: str) -> list[object]:
    """Return what an attempt could have changed about this process and its files."""
    return [
        resource.getrlimit(resource.RLIMIT_NOFILE),
        os.getpriority(os.PRIO_PROCESS, 0),
        sorted(os.sched_getaffinity(0)),
        os.sched_getscheduler(0),
        Path("/proc/self/oom_score_adj").read_text()
        if os.access("/proc/self/oom_score_adj", os.R_OK)
        else "",
        {path.name: path.stat().st_mtime_ns for path in Path(folder).iterdir()},
    ]


async def _can_be_read(name: str) -> bool:
    """Return whether an unconfined process of the same user can open a file of this process in /proc."""
    reading = await asyncio.create_subprocess_exec(
        "sh", "-c", f"exec 3< /proc/{os.getpid()}/{name}", stderr=asyncio.subprocess.DEVNULL
    )
    return await reading.wait() == 0


def _threads(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("Threads:")[2].split()[0])


def takeover_program() -> str:
    """Return a program that starts `tests.hostile.takeover` in place of the module that it is given."""
    path = Path(tempfile.mkdtemp(), "python")
    modules = ":".join(entry for entry in sys.path if entry)
    path.write_text(
        f'#!/bin/sh\nPYTHONPATH="{modules}" exec "{sys.executable}" -m tests.hostile.takeover "$2" "$3"\n'
    )
    path.chmod(0o700)
    return str(path)


if __name__ == "__main__":
    done = asyncio.run(confined()) if sys.argv[1] == "confined" else unconfined()
    print(f"\n{json.dumps(done)}")
