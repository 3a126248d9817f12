"""The checks as a page."""

from tests.support.console import JSON, RunningConsole, running_console
from tests.support.emulators import delete_table
from tests.support.shared_storage import provisioned_storage


async def test_the_checks_run_when_they_are_asked_for(console: RunningConsole) -> None:
    assert (await console.json("/checks"))["ok"] is None
    assert "have not been run" in await console.html("/checks")
    async with console.browser.post("/checks", headers=JSON) as response:
        assert response.url.path == "/checks"
        assert [each.status for each in response.history] == [303]
        content = await response.json()
    assert (content["ok"], content["failed"]) == (True, 0)
    assert content["checkedAt"]
    names = {finding["name"] for finding in content["findings"]}
    assert {"bucket", "queue", "table", "decoder confinement"} <= names
    assert "All required checks passed" in await console.html("/checks")


async def test_a_failed_check_is_shown_with_what_to_do(own_console: RunningConsole) -> None:
    console = own_console
    await delete_table(console.clients.dynamodb, console.settings.table_name)
    async with console.browser.post("/checks", headers=JSON) as response:
        content = await response.json()
    (finding,) = [each for each in content["findings"] if each["name"] == "table"]
    assert (content["ok"], finding["ok"], finding["required"]) == (False, False, True)
    page = await console.html("/checks")
    assert "<code>image-worker provision</code>" in page
    assert "required check failed" in page


async def test_with_events_the_stream_and_the_pipe_are_checked_too(ministack_endpoint: str) -> None:
    async with (
        provisioned_storage(ministack_endpoint, events=True) as storage,
        running_console(storage.settings, clients=storage.clients) as console,
        console.browser.post("/checks", headers=JSON) as response,
    ):
        content = await response.json()
    found = {finding["name"]: finding for finding in content["findings"]}
    assert found["stream"]["ok"]
    assert "there is no pipe image-worker-events" in found["pipe"]["message"]
    assert content["ok"], "the worker itself needs no events"
