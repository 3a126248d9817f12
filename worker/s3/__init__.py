"""S3: reading uploads and logos, storing results."""
