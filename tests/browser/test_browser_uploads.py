"""The example of docs/browser-uploads.md, as it is written, in a browser."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser.stack import USER, Stack
from tests.support.emulators import a_free_port, variables_of
from worker.bootstrap import deploy_storage, open_client
from worker.local.embedded_aws import embedded_environment

BACKEND = Path(__file__).parents[2] / "docs" / "examples" / "upload_backend.py"


@pytest_asyncio.fixture(loop_scope="session")
async def example(browser: Browser, running: Stack) -> AsyncIterator[Page]:
    """The page of the example, on a bucket that allows its origin."""
    port = a_free_port()
    origin = f"http://127.0.0.1:{port}"
    settings = running.settings.model_copy(update={"cors_origins": [origin]})
    async with open_client("cloudformation", settings) as cloudformation:
        await deploy_storage(cloudformation, running.clients.dynamodb, settings)
    backend = await asyncio.create_subprocess_exec(
        sys.executable,
        str(BACKEND),
        str(port),
        env={**os.environ, **embedded_environment(str(settings.endpoint_url)), **variables_of(settings)},
    )
    page = await (await browser.new_context()).new_page()
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.05)  # until it listens
                else:
                    writer.close()
                    break
        await page.goto(origin)
        yield page
    finally:
        await page.context.close()
        backend.kill()
        await backend.wait()


async def test_an_image_is_uploaded_from_the_page_and_followed_to_its_end(
    example: Page, running: Stack
) -> None:
    await example.get_by_label("Image").set_input_files(running.pictures / "forest-from-a-phone.jpg")
    status = example.get_by_role("status")
    await expect(status).to_contain_text("Completed: processed/alice/img_", timeout=60_000)
    await expect(example.get_by_label("Upload")).to_have_js_property("value", 1)
    key = (await status.inner_text()).removeprefix("Completed: ")
    image = await running.ended(Path(key).stem)
    assert (image.user_id, image.file_name) == (USER, "forest-from-a-phone.jpg")
    assert image.key == f"uploads/{USER}/{image.image_id}"


async def test_a_file_that_is_no_image_is_rejected_by_s3(example: Page, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not an image")
    await example.get_by_label("Image").set_input_files(file)
    await expect(example.get_by_role("status")).to_contain_text("Not uploaded: ", timeout=60_000)
