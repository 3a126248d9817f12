"""Profiles as they are stored now, without the worker's cache."""

from typing import TYPE_CHECKING

from worker.bootstrap import build_profile_store
from worker.domain.profile import Profile
from worker.dynamodb.profiles import CachedProfiles
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient


def profiles_of(dynamodb: "DynamoDBClient", settings: Settings) -> CachedProfiles:
    """Return the profiles in the table of the settings, read for each request."""
    return CachedProfiles(build_profile_store(dynamodb, settings), cache_s=0)


async def profile_of(dynamodb: "DynamoDBClient", settings: Settings, user_id: str) -> Profile | None:
    """Return the profile of a user; None if there is none."""
    return await profiles_of(dynamodb, settings).get(user_id)
