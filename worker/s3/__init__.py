"""S3 adapters: read uploads and logos, store results."""
