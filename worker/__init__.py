"""The image worker: from an S3 upload to a watermarked picture and a record that never lies."""
