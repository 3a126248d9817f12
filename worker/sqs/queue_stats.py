"""Read how many messages a queue holds, and the age of the oldest."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain.clock import utc_now
from worker.domain.errors import TransientError

if TYPE_CHECKING:
    from types_aiobotocore_cloudwatch import CloudWatchClient
    from types_aiobotocore_sqs import SQSClient

_AGE_WINDOW: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Approximate number of messages in a queue, by state."""

    visible: int
    in_flight: int
    delayed: int

    @property
    def total(self) -> int:
        """All messages in the queue."""
        return self.visible + self.in_flight + self.delayed


async def read_depth(sqs: "SQSClient", url: str, retry: RetryPolicy) -> QueueDepth:
    """
    Return how many messages a queue holds.

    Raises:
        TransientError: SQS is unreachable.
    """
    response = await call_with_retry(
        lambda: sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]),
        retry,
        what="read the queue depth",
    )
    attributes = response["Attributes"]
    return QueueDepth(
        visible=int(attributes["ApproximateNumberOfMessages"]),
        in_flight=int(attributes["ApproximateNumberOfMessagesNotVisible"]),
        delayed=int(attributes["ApproximateNumberOfMessagesDelayed"]),
    )


async def read_oldest_age_s(
    cloudwatch: "CloudWatchClient", queue_name: str, retry: RetryPolicy
) -> int | None:
    """Return the age of the oldest message in seconds; None when CloudWatch has no recent value."""
    now = utc_now()
    try:
        response = await call_with_retry(
            lambda: cloudwatch.get_metric_data(
                MetricDataQueries=[
                    {
                        "Id": "age",
                        "MetricStat": {
                            "Metric": {
                                "Namespace": "AWS/SQS",
                                "MetricName": "ApproximateAgeOfOldestMessage",
                                "Dimensions": [{"Name": "QueueName", "Value": queue_name}],
                            },
                            "Period": 60,
                            "Stat": "Maximum",
                        },
                    }
                ],
                StartTime=now - _AGE_WINDOW,
                EndTime=now,
                ScanBy="TimestampDescending",
            ),
            retry,
            what="read the age of the oldest message",
        )
    except TransientError:
        return None
    values = [value for result in response["MetricDataResults"] for value in result["Values"]]
    return round(values[0]) if values else None
