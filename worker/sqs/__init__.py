"""The queue of uploads and its dead-letter queue, on SQS."""
