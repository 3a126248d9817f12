"""Events for applications: an image is completed or failed."""
