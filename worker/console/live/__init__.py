"""Live pages: pollers that all viewers share, and streams of server-sent events."""
