"""DynamoDB and S3 adapters for the resources of a test, with the worker's retry policies."""

from typing import TYPE_CHECKING

from worker.aws.retry import RetryPolicies
from worker.bootstrap import table_of
from worker.domain.profile import Profile
from worker.dynamodb.ledger import DynamoLedger
from worker.dynamodb.profiles import CachedProfiles, ProfileStore
from worker.s3.results import S3Results
from worker.s3.sources import S3Sources
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client

RETRY = RetryPolicies()


def ledger_of(dynamodb: "DynamoDBClient", settings: Settings) -> DynamoLedger:
    """Return the ledger on the table of the settings."""
    return DynamoLedger(dynamodb, table=table_of(settings), retry=RETRY.table)


def profile_store_of(dynamodb: "DynamoDBClient", settings: Settings) -> ProfileStore:
    """Return the store of the profiles in the table of the settings."""
    return ProfileStore(dynamodb, table=table_of(settings), retry=RETRY.table)


def profiles_of(dynamodb: "DynamoDBClient", settings: Settings) -> CachedProfiles:
    """Return the profiles in the table of the settings, read each time."""
    return CachedProfiles(profile_store_of(dynamodb, settings), cache_s=0)


async def profile_of(dynamodb: "DynamoDBClient", settings: Settings, user_id: str) -> Profile | None:
    """Return the profile of a user as it is now."""
    return await profiles_of(dynamodb, settings).get(user_id)


def sources_of(s3: "S3Client") -> S3Sources:
    """Return a reader of uploads."""
    return S3Sources(s3, retry=RETRY.bucket)


def results_of(s3: "S3Client", settings: Settings) -> S3Results:
    """Return a writer of results to the bucket of the settings."""
    return S3Results(s3, retry=RETRY.bucket, bucket=settings.bucket, prefix=settings.processed_prefix)
