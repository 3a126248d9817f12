"""Code shared by the AWS adapters (errors, retries, batching, fast path), provisioning, task protection."""
