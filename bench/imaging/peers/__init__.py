"""Programs that process one image with one library each, driven over standard input and output."""
