"""The decoder process's side of image decoding: validate, resize, watermark and encode an image."""
