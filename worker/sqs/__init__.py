"""SQS: messages in, verdicts out."""
