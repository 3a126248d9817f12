"""S3: pictures in, renditions out."""
