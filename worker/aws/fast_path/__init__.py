"""Fast path for the AWS calls made for every image."""
