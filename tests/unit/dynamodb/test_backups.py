from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.builders import NOON
from worker.domain.errors import TransientError
from worker.dynamodb.backups import Backups, name_at


def test_the_name_tells_the_moment_in_utc() -> None:
    assert name_at(NOON) == "backup-20240101-120000"


async def test_a_refused_backup_is_told_and_not_tried_again() -> None:
    tries: list[dict[str, Any]] = []

    async def refusing(**request: Any) -> None:  # noqa: ANN401 - as botocore's
        tries.append(request)
        error = {"Error": {"Code": "AccessDeniedException", "Message": "not you"}}
        raise ClientError(error, "CreateBackup")  # type: ignore[arg-type]

    refused = Backups(SimpleNamespace(create_backup=refusing), table="metadata")  # type: ignore[arg-type]
    with pytest.raises(TransientError, match=r"could not back up the table.*not you"):
        await refused.create()
    assert len(tries) == 1
