"""Code shared by the adapters of AWS services: errors, retries, batching, provisioning."""
