# The dimension TableName alone does not include the indexes, and a throttled index throttles writes to the table.
# DynamoDB publishes a value only when something was throttled, so a missing value is zero.

resource "aws_cloudwatch_metric_alarm" "dynamodb_read_throttles" {
  alarm_name          = "${aws_dynamodb_table.image_metadata.name}-read-throttles"
  alarm_description   = "DynamoDB throttles reads of the table or of an index; `image-worker table metrics` shows which. docs/operations/respond.md#read-throttles"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 10
  evaluation_periods  = 2
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.topic_arn != "" ? [var.topic_arn] : null
  ok_actions          = var.topic_arn != "" ? [var.topic_arn] : null

  metric_query {
    id          = "throttles"
    label       = "Throttled reads"
    expression  = "SUM(FILL(METRICS(), 0))"
    return_data = true
  }

  metric_query {
    id          = "table"
    return_data = false

    metric {
      namespace   = "AWS/DynamoDB"
      metric_name = "ReadThrottleEvents"
      period      = 300
      stat        = "Sum"
      dimensions  = { TableName = aws_dynamodb_table.image_metadata.name }
    }
  }

  metric_query {
    id          = "userImages"
    return_data = false

    metric {
      namespace   = "AWS/DynamoDB"
      metric_name = "ReadThrottleEvents"
      period      = 300
      stat        = "Sum"
      dimensions = {
        TableName                = aws_dynamodb_table.image_metadata.name
        GlobalSecondaryIndexName = "UserImages"
      }
    }
  }

  metric_query {
    id          = "statusIndex"
    return_data = false

    metric {
      namespace   = "AWS/DynamoDB"
      metric_name = "ReadThrottleEvents"
      period      = 300
      stat        = "Sum"
      dimensions = {
        TableName                = aws_dynamodb_table.image_metadata.name
        GlobalSecondaryIndexName = "StatusIndex"
      }
    }
  }

  metric_query {
    id          = "dateIndex"
    return_data = false

    metric {
      namespace   = "AWS/DynamoDB"
      metric_name = "ReadThrottleEvents"
      period      = 300
      stat        = "Sum"
      dimensions = {
        TableName                = aws_dynamodb_table.image_metadata.name
        GlobalSecondaryIndexName = "DateIndex"
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "dynamodb_write_throttles" {
  alarm_name          = "${aws_dynamodb_table.image_metadata.name}-write-throttles"
  alarm_description   = "DynamoDB throttles writes to the table or to an index; `image-worker table metrics` shows which. docs/operations/respond.md#write-throttles"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 10
  evaluation_periods  = 2
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.topic_arn != "" ? [var.topic_arn] : null
  ok_actions          = var.topic_arn != "" ? [var.topic_arn] : null

  metric_query {
    id          = "throttles"
    label       = "Throttled writes"
    expression  = "SUM(FILL(METRICS(), 0))"
    return_data = true
  }

  metric_query {
    id          = "table"
    return_data = false

    metric {
      namespace   = "AWS/DynamoDB"
      metric_name = "WriteThrottleEvents"
      period      = 300
      stat        = "Sum"
      dimensions  = { TableName = aws_dynamodb_table.image_metadata.name }
    }
  }

  metric_query {
    id          = "userImages"
    return_data = false

    metric {
      namespace   = "AWS/DynamoDB"
      metric_name = "WriteThrottleEvents"
      period      = 300
      stat        = "Sum"
      dimensions = {
        TableName                = aws_dynamodb_table.image_metadata.name
        GlobalSecondaryIndexName = "UserImages"
      }
    }
  }

  metric_query {
    id          = "statusIndex"
    return_data = false

    metric {
      namespace   = "AWS/DynamoDB"
      metric_name = "WriteThrottleEvents"
      period      = 300
      stat        = "Sum"
      dimensions = {
        TableName                = aws_dynamodb_table.image_metadata.name
        GlobalSecondaryIndexName = "StatusIndex"
      }
    }
  }

  metric_query {
    id          = "dateIndex"
    return_data = false

    metric {
      namespace   = "AWS/DynamoDB"
      metric_name = "WriteThrottleEvents"
      period      = 300
      stat        = "Sum"
      dimensions = {
        TableName                = aws_dynamodb_table.image_metadata.name
        GlobalSecondaryIndexName = "DateIndex"
      }
    }
  }
}
