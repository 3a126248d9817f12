"""A differential test of the imaging pipeline against libvips, over a generated matrix of files."""
