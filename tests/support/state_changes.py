"""Resources with a stream, and the events that histories must have made."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from tests.support.emulators import stack_name_of
from worker.bootstrap import deploy_storage
from worker.domain.image import Image
from worker.domain.status import TERMINAL_STATUSES
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_cloudformation import CloudFormationClient
    from types_aiobotocore_dynamodb import DynamoDBClient


@pytest.fixture
async def with_stream(
    settings: Settings, cloudformation: "CloudFormationClient", dynamodb: "DynamoDBClient"
) -> Settings:
    """Settings of resources with a stream."""
    settings = settings.model_copy(update={"events": True})
    await deploy_storage(cloudformation, dynamodb, settings, stack_name=stack_name_of(settings))
    return settings


def ends_of(images: Sequence[Image]) -> set[str]:
    """Return the ids of the events that the histories of the images must have made."""
    return {
        f"{image.user_id}/{image.image_id}/{entry.attempt}/{entry.status}"
        for image in images
        for entry in image.history
        if entry.step is None and entry.status in TERMINAL_STATUSES
    }
