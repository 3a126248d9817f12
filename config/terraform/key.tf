# One customer managed key for objects, messages and records. It cannot be destroyed by accident, because they cannot be
# read without it. Its policy delegates access to IAM (policies.tf) and allows S3 to send notifications to the encrypted
# queue, which IAM cannot do.
resource "aws_kms_key" "image_worker" {
  count = local.creates_key ? 1 : 0

  description             = "${var.name}: objects, messages and records of image-worker"
  enable_key_rotation     = true
  rotation_period_in_days = 365

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid       = "DelegateToIam"
          Effect    = "Allow"
          Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
          Action    = "kms:*"
          Resource  = "*" # in a key policy: this key
        },
        {
          Sid       = "AllowS3Notifications"
          Effect    = "Allow"
          Principal = { Service = "s3.amazonaws.com" }
          Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
          Resource  = "*"
          Condition = {
            # By name, because the bucket depends on this key.
            ArnEquals    = { "aws:SourceArn" = "arn:${local.partition}:s3:::${var.bucket_name}" }
            StringEquals = { "aws:SourceAccount" = local.account }
          }
        },
      ],
      var.require_scan ? [
        {
          Sid       = "AllowScanResults"
          Effect    = "Allow"
          Principal = { Service = "events.amazonaws.com" }
          Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
          Resource  = "*"
          Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
        },
      ] : [],
      local.has_distribution ? [
        {
          Sid       = "AllowDistribution"
          Effect    = "Allow"
          Principal = { Service = "cloudfront.amazonaws.com" }
          Action    = "kms:Decrypt"
          Resource  = "*"
          Condition = { StringEquals = { "aws:SourceArn" = var.distribution_arn } }
        },
      ] : [],
    )
  })

  lifecycle {
    prevent_destroy = true
  }
}

# The name of the key in consoles.
resource "aws_kms_alias" "image_worker" {
  count = local.creates_key ? 1 : 0

  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.image_worker[0].key_id
}
