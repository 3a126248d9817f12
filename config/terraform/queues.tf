# The queue that receives the notifications of uploads, and its dead-letter queue.
resource "aws_sqs_queue" "events" {
  name                              = var.queue_name
  receive_wait_time_seconds         = 20
  visibility_timeout_seconds        = var.visibility_timeout
  message_retention_seconds         = 345600 # 4 days
  kms_master_key_id                 = local.key_arn
  kms_data_key_reuse_period_seconds = 3600 # SQS caches data keys for so long, which saves requests to KMS

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    maxReceiveCount     = var.max_receive_count
  })
}

resource "aws_sqs_queue" "dead_letters" {
  name = var.dead_letter_queue_name
  # The age of a dead letter counts from when it was sent to the first queue, so this must be longer.
  message_retention_seconds         = 1209600 # 14 days, the maximum
  kms_master_key_id                 = local.key_arn
  kms_data_key_reuse_period_seconds = 3600

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    # By name, because the queue refers to this one.
    sourceQueueArns = ["arn:${local.partition}:sqs:${local.region}:${local.account}:${var.queue_name}"]
  })
}

resource "aws_sqs_queue_policy" "events" {
  queue_url = aws_sqs_queue.events.url

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid       = "AllowS3Notifications"
          Effect    = "Allow"
          Principal = { Service = "s3.amazonaws.com" }
          Action    = "sqs:SendMessage"
          Resource  = aws_sqs_queue.events.arn
          Condition = {
            # By name, because the notification of the bucket depends on this policy.
            ArnEquals = { "aws:SourceArn" = "arn:${local.partition}:s3:::${var.bucket_name}" }
            # The name of a deleted bucket can be taken by another account.
            StringEquals = { "aws:SourceAccount" = local.account }
          }
        },
      ],
      var.require_scan ? [
        {
          Sid       = "AllowScanResults"
          Effect    = "Allow"
          Principal = { Service = "events.amazonaws.com" }
          Action    = "sqs:SendMessage"
          Resource  = aws_sqs_queue.events.arn
          Condition = { ArnEquals = { "aws:SourceArn" = aws_cloudwatch_event_rule.scan_results[0].arn } }
        },
      ] : [],
      [
        {
          Sid       = "DenyInsecureTransport"
          Effect    = "Deny"
          Principal = "*"
          Action    = "sqs:*"
          Resource  = aws_sqs_queue.events.arn
          Condition = { Bool = { "aws:SecureTransport" = "false" } }
        },
      ],
    )
  })
}

resource "aws_sqs_queue_policy" "dead_letters" {
  queue_url = aws_sqs_queue.dead_letters.url

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "DenyInsecureTransport"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.dead_letters.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

# Sends the results of GuardDuty's malware scans to the queue, in place of the bucket's notifications.
resource "aws_cloudwatch_event_rule" "scan_results" {
  count = var.require_scan ? 1 : 0

  name        = "${var.queue_name}-scan-results"
  description = "Sends the results of malware scans of uploads to the queue of image-worker"

  event_pattern = jsonencode({
    source      = ["aws.guardduty"]
    detail-type = ["GuardDuty Malware Protection Object Scan Result"]
    detail = {
      s3ObjectDetails = merge(
        { bucketName = [var.bucket_name] },
        var.uploads_prefix != "" ? { objectKey = [{ prefix = var.uploads_prefix }] } : {},
      )
    }
  })
}

resource "aws_cloudwatch_event_target" "scan_results" {
  count = var.require_scan ? 1 : 0

  rule      = aws_cloudwatch_event_rule.scan_results[0].name
  target_id = "queue"
  arn       = aws_sqs_queue.events.arn
}

# For events that the pipe or `image-worker events forward` cannot deliver.
resource "aws_sqs_queue" "events_dead_letters" {
  count = var.stream ? 1 : 0

  name                              = var.events_dead_letter_queue_name
  message_retention_seconds         = 1209600 # 14 days, the maximum
  kms_master_key_id                 = local.key_arn
  kms_data_key_reuse_period_seconds = 3600
}

resource "aws_sqs_queue_policy" "events_dead_letters" {
  count = var.stream ? 1 : 0

  queue_url = aws_sqs_queue.events_dead_letters[0].url

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "DenyInsecureTransport"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.events_dead_letters[0].arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}
