import pytest
from aiohttp.test_utils import make_mocked_request

from worker.console.page import prefers_json


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        (None, False),
        ("", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/json;q=0.5, text/html", False),
        ("application/json, text/html;q=0.9", True),
        ("application/json;q=0", False),
        ("application/json;q=x", False),
        ("application/json;q=nan", False),
    ],
)
def test_json_is_chosen_when_the_client_prefers_it(accept: str | None, is_json: bool) -> None:
    headers = {} if accept is None else {"Accept": accept}
    assert prefers_json(make_mocked_request("GET", "/", headers=headers)) is is_json
