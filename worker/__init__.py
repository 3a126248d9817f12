"""Worker that resizes and watermarks images uploaded to S3, and records each step in DynamoDB."""
