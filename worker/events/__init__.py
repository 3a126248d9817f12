"""Events for applications: an image is completed, failed or deleted."""
