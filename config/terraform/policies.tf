# The IAM policies. Each key statement applies to requests that the named services send on behalf of the caller.

# For the role that runs the worker: exactly the calls that it makes.
resource "aws_iam_policy" "worker" {
  name_prefix = "${var.name}-worker-"

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid      = "FindBuckets"
          Effect   = "Allow"
          Action   = "s3:ListBucket"
          Resource = concat([aws_s3_bucket.uploads.arn], aws_s3_bucket.output[*].arn)
        },
        {
          Sid      = "ReadUploads"
          Effect   = "Allow"
          Action   = ["s3:GetObject", "s3:GetObjectVersion"]
          Resource = "${aws_s3_bucket.uploads.arn}/${var.uploads_prefix}*"
        },
      ],
      var.require_scan ? [
        {
          Sid      = "ReadScanResults"
          Effect   = "Allow"
          Action   = ["s3:GetObjectTagging", "s3:GetObjectVersionTagging"]
          Resource = "${aws_s3_bucket.uploads.arn}/${var.uploads_prefix}*"
        },
      ] : [],
      [
        {
          Sid      = "ReadLogos"
          Effect   = "Allow"
          Action   = "s3:GetObject"
          Resource = "${aws_s3_bucket.uploads.arn}/${var.logos_prefix}*"
        },
        {
          Sid      = "StoreResults"
          Effect   = "Allow"
          Action   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
          Resource = "${local.output_bucket_arn}/${var.processed_prefix}*"
        },
        {
          Sid    = "ReceiveMessages"
          Effect = "Allow"
          Action = [
            "sqs:GetQueueUrl",
            "sqs:ReceiveMessage",
            "sqs:ChangeMessageVisibility",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
          ]
          Resource = aws_sqs_queue.events.arn
        },
        {
          Sid      = "SendDeadLetters"
          Effect   = "Allow"
          Action   = ["sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:SendMessage"]
          Resource = aws_sqs_queue.dead_letters.arn
        },
        {
          Sid      = "WriteRecords"
          Effect   = "Allow"
          Action   = ["dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:UpdateItem"]
          Resource = local.table_arns
        },
        {
          Sid    = "UseKey"
          Effect = "Allow"
          Action = [
            "kms:Decrypt",
            "kms:DescribeKey",
            "kms:Encrypt",
            "kms:GenerateDataKey",
            "kms:ReEncryptFrom",
            "kms:ReEncryptTo",
          ]
          Resource  = local.key_arn
          Condition = { StringEquals = { "kms:ViaService" = [local.via_s3, local.via_sqs, local.via_dynamodb] } }
        },
      ],
    )
  })
}

# For backends that give browsers forms to upload with: a form can do what its signer is allowed to do.
resource "aws_iam_policy" "uploader" {
  name_prefix = "${var.name}-uploader-"

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "StoreUploads"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = "${aws_s3_bucket.uploads.arn}/${var.uploads_prefix}*"
      },
      {
        Sid       = "UseKey"
        Effect    = "Allow"
        Action    = "kms:GenerateDataKey"
        Resource  = local.key_arn
        Condition = { StringEquals = { "kms:ViaService" = [local.via_s3] } }
      },
    ]
  })
}

# For people and programs that delete images and users: `image-worker images delete` and `users forget`.
resource "aws_iam_policy" "operator" {
  name_prefix = "${var.name}-operator-"

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid      = "ListObjects"
          Effect   = "Allow"
          Action   = "s3:ListBucket"
          Resource = concat([aws_s3_bucket.uploads.arn], aws_s3_bucket.output[*].arn)
        },
        {
          Sid      = "DeleteUploads"
          Effect   = "Allow"
          Action   = ["s3:DeleteObject", "s3:GetObject"]
          Resource = "${aws_s3_bucket.uploads.arn}/${var.uploads_prefix}*"
        },
        {
          Sid      = "DeleteResults"
          Effect   = "Allow"
          Action   = ["s3:DeleteObject", "s3:GetObject"]
          Resource = "${local.output_bucket_arn}/${var.processed_prefix}*"
        },
        {
          Sid    = "DeleteRecords"
          Effect = "Allow"
          Action = [
            "dynamodb:BatchGetItem",
            "dynamodb:DeleteItem",
            "dynamodb:GetItem",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
          ]
          Resource = local.table_arns
        },
        {
          Sid      = "ListImages"
          Effect   = "Allow"
          Action   = "dynamodb:Query"
          Resource = [for arn in local.table_arns : "${arn}/index/UserImages*"]
        },
      ],
      var.stream ? [
        {
          Sid      = "FindStream"
          Effect   = "Allow"
          Action   = "dynamodb:DescribeTable"
          Resource = local.table_arns
        },
      ] : [],
      var.stream ? [
        {
          Sid      = "FollowStream"
          Effect   = "Allow"
          Action   = ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"]
          Resource = [for arn in local.table_arns : "${arn}/stream/*"]
        },
      ] : [],
      [
        {
          Sid    = "UseKey"
          Effect = "Allow"
          Action = [
            "kms:Decrypt",
            "kms:DescribeKey",
            "kms:Encrypt",
            "kms:GenerateDataKey",
            "kms:ReEncryptFrom",
            "kms:ReEncryptTo",
          ]
          Resource  = local.key_arn
          Condition = { StringEquals = { "kms:ViaService" = [local.via_s3, local.via_dynamodb] } }
        },
      ],
    )
  })
}

# For web applications that show users the list of their own images. Only projected attributes can be read through an
# index, so no condition on attributes is needed.
resource "aws_iam_policy" "reader" {
  name_prefix = "${var.name}-reader-"

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ListOwnImages"
        Effect   = "Allow"
        Action   = "dynamodb:Query"
        Resource = [for arn in local.table_arns : "${arn}/index/UserImages*"]
        Condition = {
          "ForAllValues:StringEquals" = { "dynamodb:LeadingKeys" = [join("", ["$", "{", var.reader_identity, "}"])] }
          Null                        = { "dynamodb:LeadingKeys" = "false" }
        }
      },
      {
        Sid       = "UseKey"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:DescribeKey"]
        Resource  = local.key_arn
        Condition = { StringEquals = { "kms:ViaService" = [local.via_dynamodb] } }
      },
    ]
  })
}

# For the role that runs the web console. With this policy alone, it shows everything and changes nothing.
resource "aws_iam_policy" "console_reader" {
  name_prefix = "${var.name}-console-reader-"

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid      = "FindBuckets"
          Effect   = "Allow"
          Action   = ["s3:GetBucketNotification", "s3:ListBucket"]
          Resource = concat([aws_s3_bucket.uploads.arn], aws_s3_bucket.output[*].arn)
        },
        {
          Sid      = "ReadUploads"
          Effect   = "Allow"
          Action   = ["s3:GetObject", "s3:GetObjectVersion"]
          Resource = "${aws_s3_bucket.uploads.arn}/${var.uploads_prefix}*"
        },
        {
          Sid      = "ReadLogos"
          Effect   = "Allow"
          Action   = "s3:GetObject"
          Resource = "${aws_s3_bucket.uploads.arn}/${var.logos_prefix}*"
        },
        {
          Sid      = "ReadResults"
          Effect   = "Allow"
          Action   = "s3:GetObject"
          Resource = "${local.output_bucket_arn}/${var.processed_prefix}*"
        },
        {
          Sid      = "MeasureQueues"
          Effect   = "Allow"
          Action   = ["sqs:GetQueueUrl", "sqs:GetQueueAttributes"]
          Resource = [aws_sqs_queue.events.arn, aws_sqs_queue.dead_letters.arn]
        },
      ],
      var.stream ? [
        {
          Sid      = "CheckPipe"
          Effect   = "Allow"
          Action   = "pipes:DescribePipe"
          Resource = "arn:${local.partition}:pipes:${local.region}:${local.account}:pipe/${var.events_pipe_name}"
        },
      ] : [],
      [
        {
          Sid      = "ReadMetrics"
          Effect   = "Allow"
          Action   = "cloudwatch:GetMetricData"
          Resource = "*"
        },
        {
          Sid    = "ReadRecords"
          Effect = "Allow"
          Action = [
            "dynamodb:BatchGetItem",
            "dynamodb:DescribeContinuousBackups",
            "dynamodb:DescribeTable",
            "dynamodb:DescribeTimeToLive",
            "dynamodb:GetItem",
            "dynamodb:Query",
          ]
          Resource = local.table_arns
        },
        {
          Sid      = "ListImages"
          Effect   = "Allow"
          Action   = "dynamodb:Query"
          Resource = [for arn in local.table_arns : "${arn}/index/*"]
        },
        {
          Sid       = "UseKey"
          Effect    = "Allow"
          Action    = ["kms:Decrypt", "kms:DescribeKey"]
          Resource  = local.key_arn
          Condition = { StringEquals = { "kms:ViaService" = [local.via_s3, local.via_sqs, local.via_dynamodb] } }
        },
      ],
    )
  })
}

# For the role that runs a web console whose operators act on images, together with console_reader.
resource "aws_iam_policy" "console_operator" {
  name_prefix = "${var.name}-console-operator-"

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Upload"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = "${aws_s3_bucket.uploads.arn}/${var.uploads_prefix}*"
      },
      {
        Sid      = "Requeue"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.events.arn
      },
      {
        Sid      = "RedriveDeadLetters"
        Effect   = "Allow"
        Action   = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage"]
        Resource = aws_sqs_queue.dead_letters.arn
      },
      {
        Sid      = "DeleteUploads"
        Effect   = "Allow"
        Action   = "s3:DeleteObject"
        Resource = "${aws_s3_bucket.uploads.arn}/${var.uploads_prefix}*"
      },
      {
        Sid      = "DeleteResults"
        Effect   = "Allow"
        Action   = "s3:DeleteObject"
        Resource = "${local.output_bucket_arn}/${var.processed_prefix}*"
      },
      {
        Sid      = "WriteRecords"
        Effect   = "Allow"
        Action   = ["dynamodb:DeleteItem", "dynamodb:UpdateItem"]
        Resource = local.table_arns
      },
      {
        Sid       = "UseKey"
        Effect    = "Allow"
        Action    = ["kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo"]
        Resource  = local.key_arn
        Condition = { StringEquals = { "kms:ViaService" = [local.via_s3, local.via_sqs, local.via_dynamodb] } }
      },
    ]
  })
}
