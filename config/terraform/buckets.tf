# The bucket of uploads, and the bucket of results if it is another one. Neither is destroyed with the module.

resource "aws_s3_bucket" "uploads" {
  #checkov:skip=CKV_AWS_18:Server access logs need another bucket; CloudTrail data events record the same.
  #checkov:skip=CKV_AWS_21:Set by bucket_versioning; results can be created again, and uploads are not changed.
  #checkov:skip=CKV_AWS_144:The system runs in one region; copies in another are the choice of its owner.
  bucket = var.bucket_name

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_public_access_block" "uploads" {
  bucket                  = aws_s3_bucket.uploads.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "uploads" {
  bucket = aws_s3_bucket.uploads.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "uploads" {
  bucket = aws_s3_bucket.uploads.id

  rule {
    bucket_key_enabled = true # fewer requests to KMS

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = local.key_arn
    }
  }
}

resource "aws_s3_bucket_cors_configuration" "uploads" {
  count = length(var.cors_origins) > 0 ? 1 : 0

  bucket = aws_s3_bucket.uploads.id

  cors_rule {
    allowed_origins = var.cors_origins
    allowed_methods = ["POST"]
    allowed_headers = ["*"]
    max_age_seconds = 3600
  }
}

resource "aws_s3_bucket_versioning" "uploads" {
  count = var.bucket_versioning ? 1 : 0

  bucket = aws_s3_bucket.uploads.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "uploads" {
  bucket = aws_s3_bucket.uploads.id

  rule {
    id     = "abort-unfinished-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  rule {
    id     = "expire-old-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = 30
    }
  }
}

resource "aws_s3_bucket_policy" "uploads" {
  bucket = aws_s3_bucket.uploads.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid       = "DenyInsecureTransport"
          Effect    = "Deny"
          Principal = "*"
          Action    = "s3:*"
          Resource  = [aws_s3_bucket.uploads.arn, "${aws_s3_bucket.uploads.arn}/*"]
          Condition = { Bool = { "aws:SecureTransport" = "false" } }
        },
      ],
      local.has_distribution && !local.has_output_bucket ? [
        {
          Sid       = "AllowDistribution"
          Effect    = "Allow"
          Principal = { Service = "cloudfront.amazonaws.com" }
          Action    = "s3:GetObject"
          Resource  = "${aws_s3_bucket.uploads.arn}/${var.processed_prefix}*"
          Condition = { StringEquals = { "aws:SourceArn" = var.distribution_arn } }
        },
      ] : [],
    )
  })

  depends_on = [aws_s3_bucket_public_access_block.uploads] # S3 rejects concurrent changes of these two
}

# S3 sends a test message when the notification is configured, which the queue policy must allow.
resource "aws_s3_bucket_notification" "uploads" {
  bucket      = aws_s3_bucket.uploads.id
  eventbridge = var.require_scan # GuardDuty receives uploads by EventBridge; its results go to the queue

  dynamic "queue" {
    for_each = var.require_scan ? [] : [aws_sqs_queue.events.arn]

    content {
      events        = ["s3:ObjectCreated:*"]
      queue_arn     = queue.value
      filter_prefix = var.uploads_prefix != "" ? var.uploads_prefix : null
    }
  }

  depends_on = [aws_sqs_queue_policy.events]
}

resource "aws_s3_bucket" "output" {
  #checkov:skip=CKV2_AWS_62:Results start no work.
  #checkov:skip=CKV_AWS_18:Server access logs need another bucket; CloudTrail data events record the same.
  #checkov:skip=CKV_AWS_21:Set by bucket_versioning; results can be created again, and uploads are not changed.
  #checkov:skip=CKV_AWS_144:The system runs in one region; copies in another are the choice of its owner.
  count = local.has_output_bucket ? 1 : 0

  bucket = var.output_bucket_name

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_public_access_block" "output" {
  count = local.has_output_bucket ? 1 : 0

  bucket                  = aws_s3_bucket.output[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "output" {
  count = local.has_output_bucket ? 1 : 0

  bucket = aws_s3_bucket.output[0].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "output" {
  count = local.has_output_bucket ? 1 : 0

  bucket = aws_s3_bucket.output[0].id

  rule {
    bucket_key_enabled = true # fewer requests to KMS

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = local.key_arn
    }
  }
}

resource "aws_s3_bucket_versioning" "output" {
  count = local.has_output_bucket && var.bucket_versioning ? 1 : 0

  bucket = aws_s3_bucket.output[0].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "output" {
  count = local.has_output_bucket ? 1 : 0

  bucket = aws_s3_bucket.output[0].id

  rule {
    id     = "abort-unfinished-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  rule {
    id     = "expire-old-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = 30
    }
  }
}

resource "aws_s3_bucket_policy" "output" {
  count = local.has_output_bucket ? 1 : 0

  bucket = aws_s3_bucket.output[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid       = "DenyInsecureTransport"
          Effect    = "Deny"
          Principal = "*"
          Action    = "s3:*"
          Resource  = [aws_s3_bucket.output[0].arn, "${aws_s3_bucket.output[0].arn}/*"]
          Condition = { Bool = { "aws:SecureTransport" = "false" } }
        },
      ],
      local.has_distribution ? [
        {
          Sid       = "AllowDistribution"
          Effect    = "Allow"
          Principal = { Service = "cloudfront.amazonaws.com" }
          Action    = "s3:GetObject"
          Resource  = "${aws_s3_bucket.output[0].arn}/${var.processed_prefix}*"
          Condition = { StringEquals = { "aws:SourceArn" = var.distribution_arn } }
        },
      ] : [],
    )
  })

  depends_on = [aws_s3_bucket_public_access_block.output] # S3 rejects concurrent changes of these two
}
