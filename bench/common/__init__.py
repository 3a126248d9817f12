"""What several benchmarks share: test images, reports, process measurements, and the installer of peers."""
