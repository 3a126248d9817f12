"""Follow every link of every page, as HTML and as JSON, over a record with hostile names."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser

import pytest

from tests.support.console import RunningConsole, running_console
from tests.support.pictures import encoded, quadrants
from tests.support.shared_storage import Storage
from tests.support.whole_worker import running_worker, wait_until_processed, wait_until_queue_is_empty

PREFIX = "/a/b"
HOSTILE_USER = "<b>&\"' {x} %2F ü"
IMAGES = {"album/one": HOSTILE_USER, "{two}": HOSTILE_USER, "broken": HOSTILE_USER, "plain": "alice"}
"""Image id -> its owner."""

_URL_ATTRIBUTES = frozenset({"href", "src", "action", "formaction", "hx-get", "hx-post", "sse-connect"})
_FOLLOWED = frozenset({"href", "src", "hx-get", "sse-connect"})
_MAX_PAGES = 400


class Page(HTMLParser):
    """The URLs of a page by the attribute that has them, and what every page has to have."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.urls: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self.forbidden: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in _URL_ATTRIBUTES and value and not value.startswith("#"):
                self.urls.append((name, value))
            if name.startswith("on") or name == "style":
                self.forbidden.append(f"<{tag} {name}>")
        if tag == "style" or (tag == "script" and "src" not in dict(attrs)):
            self.forbidden.append(f"<{tag}>")


@asynccontextmanager
async def console_with_images(storage: Storage, **changes: object) -> AsyncIterator[RunningConsole]:
    """Run a console over completed and failed images and a dead letter."""
    settings, clients = storage.settings, storage.clients
    async with running_console(settings, clients=clients, is_local=True, **changes) as console:
        url = (await clients.sqs.get_queue_url(QueueName=settings.queue_name))["QueueUrl"]
        for image_id, user_id in IMAGES.items():
            content = encoded(quadrants(600, 400))
            await clients.s3.put_object(
                Bucket=settings.bucket,
                Key=f"{settings.uploads_prefix}{user_id}/{image_id}.jpg",
                Body=content[:2000] if image_id == "broken" else content,
                Metadata={"filename": "%3Cscript%3Ealert(1)%3C/script%3E%1B[31m.jpg"},
            )
        await clients.sqs.send_message(QueueUrl=url, MessageBody="<i>not JSON</i>")
        async with running_worker(settings, clients, decoders=1):
            for image_id, user_id in IMAGES.items():
                await wait_until_processed(clients.dynamodb, settings, image_id, user_id=user_id)
            await wait_until_queue_is_empty(clients.sqs, settings)
        yield console


@pytest.mark.timeout(300)
async def test_every_link_of_every_page_works_under_a_path_prefix(storage: Storage) -> None:
    async with console_with_images(storage, console_prefix=PREFIX) as console:
        waiting, html_pages = [f"{PREFIX}/"], []
        seen: set[str] = set()
        while waiting and len(seen) < _MAX_PAGES:
            path = waiting.pop(0)
            if path in seen:
                continue
            seen.add(path)
            async with console.browser.get(path, headers={"Accept": "text/html, */*;q=0.1"}) as response:
                assert response.status == 200, (path, await response.text())
                if response.content_type != "text/html":
                    continue
                text = await response.text()
            page = Page(text)
            html_pages.append(path)
            assert page.forbidden == [], path
            assert page.tags.count("h1") == 1, path
            assert "<script>alert" not in text, path
            assert "\x1b" not in text, path
            for attribute, url in page.urls:
                assert url.startswith(f"{PREFIX}/"), (path, attribute, url)
                if attribute in _FOLLOWED:
                    waiting.append(url.partition("#")[0])
            assert isinstance(await console.json(path), dict)
        visited = {path.removeprefix(PREFIX).partition("?")[0] for path in html_pages}
        expected = {"/", "/try", "/images", "/users", "/failures", "/dead-letters", "/queue", "/preview"}
        expected |= {"/operations", "/checks", "/users/alice", "/images/plain", "/failures/truncated"}
        assert visited >= expected
