"""The worker process's side of image decoding: a pool of supervised decoder processes."""
