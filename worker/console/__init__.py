"""The web console: shows images, failures, queues and users, and runs repairs."""
