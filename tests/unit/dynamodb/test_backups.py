from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.builders import NOON
from worker.bootstrap import RETRY_POLICIES
from worker.domain.errors import TransientError
from worker.dynamodb.backups import Backups, default_name
from worker.dynamodb.table import Table


def test_the_default_name_is_the_time_in_utc() -> None:
    assert default_name(NOON) == "backup-20240101-120000"


async def test_a_rejected_backup_is_not_retried() -> None:
    requests: list[dict[str, Any]] = []

    async def reject(**request: Any) -> None:
        requests.append(request)
        error = {"Error": {"Code": "AccessDeniedException", "Message": "not allowed"}}
        raise ClientError(error, "CreateBackup")  # type: ignore[arg-type]  # a plain dict

    client: Any = SimpleNamespace(create_backup=reject)
    backups = Backups(client, table=Table("metadata", index_shards=8), retry=RETRY_POLICIES.table)
    with pytest.raises(TransientError, match=r"could not back up the table.*not allowed"):
        await backups.create()
    assert len(requests) == 1
