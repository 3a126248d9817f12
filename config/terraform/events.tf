# The pipe that publishes an event when an image is completed, failed or deleted.

locals {
  pipe_arn   = "arn:${local.partition}:pipes:${local.region}:${local.account}:pipe/${var.events_pipe_name}"
  event_bus  = "arn:${local.partition}:events:${local.region}:${local.account}:event-bus/default"
  event_sink = var.events_target_arn != "" ? var.events_target_arn : local.event_bus

  # A path that does not exist becomes an empty text; numbers of DynamoDB are texts. Of an end, only NewImage has the
  # values; of a deletion, only the mark in OldImage. Not by jsonencode, which escapes < and >.
  event_detail = replace(trimspace(<<-EOT
    {"version": "1",
    "id": "<$.dynamodb.Keys.userId.S>/<$.dynamodb.Keys.imageId.S>/<$.dynamodb.NewImage.attempt.N><$.dynamodb.OldImage.deletion.M.attempt.S>/<$.dynamodb.NewImage.status.S><$.dynamodb.OldImage.deletion.M.status.S>",
    "userId": "<$.dynamodb.Keys.userId.S>",
    "imageId": "<$.dynamodb.Keys.imageId.S>",
    "status": "<$.dynamodb.NewImage.status.S><$.dynamodb.OldImage.deletion.M.status.S>",
    "attempt": "<$.dynamodb.NewImage.attempt.N><$.dynamodb.OldImage.deletion.M.attempt.S>",
    "recordId": "<$.dynamodb.NewImage.recordId.S><$.dynamodb.OldImage.deletion.M.recordId.S>",
    "code": "<$.dynamodb.NewImage.error.M.code.S><$.dynamodb.OldImage.deletion.M.code.S>",
    "recipe": "<$.dynamodb.NewImage.recipe.S><$.dynamodb.OldImage.deletion.M.recipe.S>",
    "bucket": "<$.dynamodb.NewImage.sourceBucket.S><$.dynamodb.OldImage.deletion.M.bucket.S>",
    "originalKey": "<$.dynamodb.NewImage.originalS3Key.S><$.dynamodb.OldImage.deletion.M.originalKey.S>",
    "sourceETag": "<$.dynamodb.NewImage.sourceVersion.M.eTag.S><$.dynamodb.OldImage.deletion.M.sourceETag.S>",
    "processedKey": "<$.dynamodb.NewImage.processedS3Key.S><$.dynamodb.OldImage.deletion.M.processedKey.S>",
    "processedAt": "<$.dynamodb.NewImage.processedAt.S><$.dynamodb.OldImage.deletion.M.processedAt.S>"}
  EOT
  ), "\n", " ")
  # EventBridge adds the fields around the detail itself.
  event_envelope = replace(trimspace(<<-EOT
    {"source": "image-worker",
    "detail-type": "Image State Change",
    "time": "<$.dynamodb.NewImage.updatedAt.S><$.dynamodb.OldImage.deletion.M.at.S>",
  EOT
  ), "\n", " ")
}

resource "aws_iam_role" "pipe" {
  count = var.events_pipe ? 1 : 0

  name_prefix = "${var.name}-pipe-"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Principal = { Service = "pipes.amazonaws.com" }
        Action    = "sts:AssumeRole"
        Condition = {
          StringEquals = { "aws:SourceAccount" = local.account }
          ArnLike      = { "aws:SourceArn" = local.pipe_arn }
        }
      },
    ]
  })
}

resource "aws_iam_role_policy" "pipe" {
  count = var.events_pipe ? 1 : 0

  name = "publish-state-changes"
  role = aws_iam_role.pipe[0].name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ReadStream"
        Effect   = "Allow"
        Action   = ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"]
        Resource = aws_dynamodb_table.image_metadata.stream_arn
      },
      {
        Sid      = "ListStreams" # accepts no resource
        Effect   = "Allow"
        Action   = "dynamodb:ListStreams"
        Resource = "*"
      },
      {
        Sid      = "SendDeadLetters"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.events_dead_letters[0].arn
      },
      {
        Sid      = "Publish"
        Effect   = "Allow"
        Action   = { bus = "events:PutEvents", queue = "sqs:SendMessage", topic = "sns:Publish" }[var.events_target_type]
        Resource = local.event_sink
      },
      {
        Sid       = "UseKey"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = compact([local.key_arn, var.events_target_key_arn])
        Condition = { StringEquals = { "kms:ViaService" = [local.via_dynamodb, local.via_sqs, local.via_sns] } }
      },
    ]
  })
}

resource "aws_pipes_pipe" "events" {
  count = var.events_pipe ? 1 : 0

  name          = var.events_pipe_name
  description   = "Publishes an event when an image is completed, failed or deleted."
  role_arn      = aws_iam_role.pipe[0].arn
  desired_state = "RUNNING"
  source        = aws_dynamodb_table.image_metadata.stream_arn
  target        = local.event_sink

  source_parameters {
    dynamodb_stream_parameters {
      starting_position             = "TRIM_HORIZON"
      batch_size                    = 10
      maximum_record_age_in_seconds = var.events_max_age_seconds
      maximum_retry_attempts        = var.events_max_attempts
      on_partial_batch_item_failure = "AUTOMATIC_BISECT"
      parallelization_factor        = 1

      dead_letter_config {
        arn = aws_sqs_queue.events_dead_letters[0].arn
      }
    }

    filter_criteria {
      # The end of an image is a change of its status; later changes of an ended image do not match.
      filter {
        pattern = jsonencode({
          eventName = ["MODIFY"]
          dynamodb = {
            OldImage = { status = { S = ["pending", "processing"] } }
            NewImage = { status = { S = ["completed", "failed"] } }
          }
        })
      }

      # A record that is removed without this mark has expired.
      filter {
        pattern = jsonencode({
          eventName = ["REMOVE"]
          dynamodb  = { OldImage = { deletion = { M = { status = { S = ["deleted"] } } } } }
        })
      }
    }
  }

  target_parameters {
    input_template = (
      var.events_target_type == "bus"
      ? local.event_detail
      : "${local.event_envelope} \"detail\": ${local.event_detail}}"
    )

    dynamic "eventbridge_event_bus_parameters" {
      for_each = var.events_target_type == "bus" ? [1] : []

      content {
        source      = "image-worker"
        detail_type = "Image State Change"
      }
    }
  }

  depends_on = [aws_iam_role_policy.pipe] # the pipe checks what its role may do when it is created
}

resource "aws_cloudwatch_metric_alarm" "pipe_failures" {
  count = var.events_pipe ? 1 : 0

  alarm_name          = "${var.events_pipe_name}-failures"
  alarm_description   = "The pipe could not publish events; it retries them for MaxAgeSeconds. Check that its target exists and that its role may publish there. docs/operations/respond.md#events-are-not-published"
  namespace           = "AWS/EventBridge/Pipes"
  metric_name         = "ExecutionFailed"
  dimensions          = { PipeName = var.events_pipe_name }
  statistic           = "Sum"
  period              = 60
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.topic_arn != "" ? [var.topic_arn] : null
  ok_actions          = var.topic_arn != "" ? [var.topic_arn] : null
}

resource "aws_cloudwatch_metric_alarm" "event_dead_letters" {
  count = var.events_pipe ? 1 : 0

  alarm_name          = "${var.events_pipe_name}-dead-letters"
  alarm_description   = "Events were not delivered. A dead letter of the pipe names positions in the stream, not events: publish the events of that time again by `image-worker events replay`, then purge the queue. docs/operations/respond.md#events-are-not-published"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.events_dead_letters[0].name }
  statistic           = "Maximum"
  period              = 60
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching" # SQS publishes no metrics for a queue without activity for six hours
  alarm_actions       = var.topic_arn != "" ? [var.topic_arn] : null
  ok_actions          = var.topic_arn != "" ? [var.topic_arn] : null
}
