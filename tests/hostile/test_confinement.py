"""Code that has taken over a decoder can do nothing but decode; docs/security.md lists what it tries."""

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.hostile.attempts import ATTEMPTS
from tests.hostile.probe import ENDED, run_code, takeover_program
from tests.support.pools import SMALL_JPEG, make_pool, outputs_of
from tests.support.unprivileged import run_module
from worker.checks import check_confinement
from worker.decoder_pool import starters
from worker.domain.confinement import REQUIRED, Guarantee
from worker.domain.errors import ConfigurationError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="decoders are confined on Linux")

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
ROW = re.compile(r"^\| ([^|]+) \| `(\w+)` \| (denied|ends the decoder) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def probe() -> dict[str, Any]:
    """What code in a confined decoder of an unprivileged worker could do."""
    return run_module("tests.hostile.probe", "confined")


def test_nothing_that_code_in_a_decoder_tries_is_possible(probe: dict[str, Any]) -> None:
    results = {title: result for title, result in probe["results"].items() if result not in DENIED}
    assert results == {}
    assert len(probe["results"]) >= 0.9 * len(ATTEMPTS)


DENIED = {"EPERM", "ENOSYS", "ends the decoder"}


def test_the_page_about_security_lists_what_the_probe_finds(probe: dict[str, Any]) -> None:
    found = {
        (attempt.title, attempt.call): "denied" if result in {"EPERM", "ENOSYS"} else result
        for attempt in ATTEMPTS
        if (result := probe["results"].get(attempt.title)) is not None
    }
    listed = {(title, call): result for title, call, result in ROW.findall(PAGE.read_text(encoding="utf-8"))}
    assert {key: listed.get(key) for key in found} == found
    assert listed.keys() == {(attempt.title, attempt.call) for attempt in ATTEMPTS}


def test_what_the_probe_tries_is_possible_for_an_unconfined_process_of_the_same_user() -> None:
    results: Any = run_module("tests.hostile.probe", "unconfined")["results"]
    assert {title for title, result in results.items() if result != "possible"} <= DEPEND_ON_THE_SYSTEM


DEPEND_ON_THE_SYSTEM = {
    *("create a user namespace", "handle page faults", "trace the worker process", "trace another decoder"),
    *("create a hard link", "read the kernel's keyrings", "add a key", "compare resources of processes"),
    *("move pages of the worker process", "change the worker process's scheduler", "lock pages"),
    *("set the memory policy", "change segments", "open a POSIX message queue", "open the memory of "),
}
"""Attempts that some kernels, security modules and container runtimes deny to everybody."""


def test_every_system_call_outside_the_allow_list_is_denied(probe: dict[str, Any]) -> None:
    assert probe["numbers"] == {"passed": [], "survived": []}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x32 belongs to x86_64")
def test_a_system_call_of_x32_ends_the_decoder(probe: dict[str, Any]) -> None:
    assert probe["x32"] == "ends the decoder"


def test_a_decoder_has_a_single_thread_and_cannot_start_another(probe: dict[str, Any]) -> None:
    assert set(probe["thread_counts"]) == {1}
    assert probe["threads"] == "can't start new thread"


def test_a_decoder_cannot_allocate_more_than_its_limit(probe: dict[str, Any]) -> None:
    assert probe["memory"] == "MemoryError: "


def test_the_probe_executes_the_code_that_it_is_given(probe: dict[str, Any]) -> None:
    assert probe["computed"] == 42
    assert probe["folder"].startswith("PermissionError")


def test_the_worker_process_is_unharmed_and_not_dumpable(probe: dict[str, Any]) -> None:
    assert probe["is_unharmed"]
    assert probe["is_dumpable"] == 0


def test_no_process_of_the_same_user_can_read_the_memory_and_environment_of_the_worker_process(
    probe: dict[str, Any],
) -> None:
    assert probe["readable_without_seccomp"] == ["statm"]


async def test_every_guarantee_is_reported_by_each_decoder() -> None:
    async with make_pool(processes=2, requires_confinement=True) as pool:
        assert pool.guarantees >= REQUIRED
        await outputs_of(pool, SMALL_JPEG)


@pytest.fixture
def executes_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", takeover_program())


@pytest.mark.usefixtures("executes_uploads")
async def test_a_call_that_only_an_attack_makes_is_logged() -> None:
    async with make_pool() as pool:
        with capture_logs() as logs:
            assert await run_code(pool, "import os; os.execv('/bin/true', ['true'])") == ENDED
    assert [line["log_level"] for line in logs if line["event"] == "decoder.call_forbidden"] == ["warning"]


@pytest.mark.usefixtures("executes_uploads")
async def test_decoders_that_are_not_forked_are_confined_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starters, "_has_pidfd", lambda: False)
    async with make_pool(requires_confinement=True) as pool:
        assert pool.zygote_pid is None
        assert str(await run_code(pool, "open('/etc/passwd')")).startswith("PermissionError")


def test_the_check_warns_of_missing_guarantees_and_names_them() -> None:
    assert check_confinement(frozenset(Guarantee)).ok
    finding = check_confinement(REQUIRED - {Guarantee.SECCOMP})
    assert (finding.ok, finding.required) == (False, False)
    assert "without seccomp (" in finding.message
    assert "landlock (" in finding.message
    assert finding.fix


WITHOUT_SECCOMP = """\
import importlib, sys
import worker.imaging.seccomp
worker.imaging.seccomp.ARCHITECTURES = {}
module, sys.argv[1:] = sys.argv[2], sys.argv[3:]
importlib.import_module(module).main()
"""
"""Runs a module as on an architecture that the filters do not support."""


@pytest.fixture
def without_seccomp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c '{WITHOUT_SECCOMP}' \"$@\"\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))


@pytest.mark.usefixtures("without_seccomp")
async def test_a_worker_that_requires_confinement_does_not_start_without_seccomp() -> None:
    pool = make_pool(requires_confinement=True)
    with pytest.raises(ConfigurationError, match=r"without seccomp \(.+\); run the worker on Linux"):
        await pool.start()
    assert pool.alive == 0


@pytest.mark.usefixtures("without_seccomp")
async def test_without_seccomp_the_other_guarantees_hold_and_images_are_processed() -> None:
    async with make_pool() as pool:
        assert Guarantee.SECCOMP not in pool.guarantees
        assert pool.guarantees >= REQUIRED - {Guarantee.SECCOMP}
        await outputs_of(pool, SMALL_JPEG)
