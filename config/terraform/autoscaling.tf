# Autoscaling of the table and of its three indexes in billing mode PROVISIONED. Each target depends on the policy before
# it: Application Auto Scaling rejects concurrent requests for one table, and each policy creates alarms, of which
# CloudWatch accepts three requests per second.

resource "aws_appautoscaling_target" "dynamodb_table_read_target" {
  count = local.is_provisioned ? 1 : 0

  max_capacity       = var.max_capacity
  min_capacity       = var.min_capacity
  resource_id        = "table/${aws_dynamodb_table.image_metadata.name}"
  scalable_dimension = "dynamodb:table:ReadCapacityUnits"
  service_namespace  = "dynamodb"
}

resource "aws_appautoscaling_policy" "dynamodb_table_read_policy" {
  count = local.is_provisioned ? 1 : 0

  name               = "${var.table_name}-Table-reads"
  policy_type        = "TargetTrackingScaling"
  resource_id        = aws_appautoscaling_target.dynamodb_table_read_target[0].resource_id
  scalable_dimension = aws_appautoscaling_target.dynamodb_table_read_target[0].scalable_dimension
  service_namespace  = aws_appautoscaling_target.dynamodb_table_read_target[0].service_namespace

  target_tracking_scaling_policy_configuration {
    target_value = var.target_utilization

    predefined_metric_specification {
      predefined_metric_type = "DynamoDBReadCapacityUtilization"
    }
  }
}

resource "aws_appautoscaling_target" "dynamodb_table_write_target" {
  count = local.is_provisioned ? 1 : 0

  max_capacity       = var.max_capacity
  min_capacity       = var.min_capacity
  resource_id        = "table/${aws_dynamodb_table.image_metadata.name}"
  scalable_dimension = "dynamodb:table:WriteCapacityUnits"
  service_namespace  = "dynamodb"

  depends_on = [aws_appautoscaling_policy.dynamodb_table_read_policy]
}

resource "aws_appautoscaling_policy" "dynamodb_table_write_policy" {
  count = local.is_provisioned ? 1 : 0

  name               = "${var.table_name}-Table-writes"
  policy_type        = "TargetTrackingScaling"
  resource_id        = aws_appautoscaling_target.dynamodb_table_write_target[0].resource_id
  scalable_dimension = aws_appautoscaling_target.dynamodb_table_write_target[0].scalable_dimension
  service_namespace  = aws_appautoscaling_target.dynamodb_table_write_target[0].service_namespace

  target_tracking_scaling_policy_configuration {
    target_value = var.target_utilization

    predefined_metric_specification {
      predefined_metric_type = "DynamoDBWriteCapacityUtilization"
    }
  }
}

resource "aws_appautoscaling_target" "dynamodb_user_images_read_target" {
  count = local.is_provisioned ? 1 : 0

  max_capacity       = var.max_capacity
  min_capacity       = var.min_capacity
  resource_id        = "table/${aws_dynamodb_table.image_metadata.name}/index/UserImages"
  scalable_dimension = "dynamodb:index:ReadCapacityUnits"
  service_namespace  = "dynamodb"

  depends_on = [aws_appautoscaling_policy.dynamodb_table_write_policy]
}

resource "aws_appautoscaling_policy" "dynamodb_user_images_read_policy" {
  count = local.is_provisioned ? 1 : 0

  name               = "${var.table_name}-UserImages-reads"
  policy_type        = "TargetTrackingScaling"
  resource_id        = aws_appautoscaling_target.dynamodb_user_images_read_target[0].resource_id
  scalable_dimension = aws_appautoscaling_target.dynamodb_user_images_read_target[0].scalable_dimension
  service_namespace  = aws_appautoscaling_target.dynamodb_user_images_read_target[0].service_namespace

  target_tracking_scaling_policy_configuration {
    target_value = var.target_utilization

    predefined_metric_specification {
      predefined_metric_type = "DynamoDBReadCapacityUtilization"
    }
  }
}

resource "aws_appautoscaling_target" "dynamodb_user_images_write_target" {
  count = local.is_provisioned ? 1 : 0

  max_capacity       = var.max_capacity
  min_capacity       = var.min_capacity
  resource_id        = "table/${aws_dynamodb_table.image_metadata.name}/index/UserImages"
  scalable_dimension = "dynamodb:index:WriteCapacityUnits"
  service_namespace  = "dynamodb"

  depends_on = [aws_appautoscaling_policy.dynamodb_user_images_read_policy]
}

resource "aws_appautoscaling_policy" "dynamodb_user_images_write_policy" {
  count = local.is_provisioned ? 1 : 0

  name               = "${var.table_name}-UserImages-writes"
  policy_type        = "TargetTrackingScaling"
  resource_id        = aws_appautoscaling_target.dynamodb_user_images_write_target[0].resource_id
  scalable_dimension = aws_appautoscaling_target.dynamodb_user_images_write_target[0].scalable_dimension
  service_namespace  = aws_appautoscaling_target.dynamodb_user_images_write_target[0].service_namespace

  target_tracking_scaling_policy_configuration {
    target_value = var.target_utilization

    predefined_metric_specification {
      predefined_metric_type = "DynamoDBWriteCapacityUtilization"
    }
  }
}

resource "aws_appautoscaling_target" "dynamodb_status_index_read_target" {
  count = local.is_provisioned ? 1 : 0

  max_capacity       = var.max_capacity
  min_capacity       = var.min_capacity
  resource_id        = "table/${aws_dynamodb_table.image_metadata.name}/index/StatusIndex"
  scalable_dimension = "dynamodb:index:ReadCapacityUnits"
  service_namespace  = "dynamodb"

  depends_on = [aws_appautoscaling_policy.dynamodb_user_images_write_policy]
}

resource "aws_appautoscaling_policy" "dynamodb_status_index_read_policy" {
  count = local.is_provisioned ? 1 : 0

  name               = "${var.table_name}-StatusIndex-reads"
  policy_type        = "TargetTrackingScaling"
  resource_id        = aws_appautoscaling_target.dynamodb_status_index_read_target[0].resource_id
  scalable_dimension = aws_appautoscaling_target.dynamodb_status_index_read_target[0].scalable_dimension
  service_namespace  = aws_appautoscaling_target.dynamodb_status_index_read_target[0].service_namespace

  target_tracking_scaling_policy_configuration {
    target_value = var.target_utilization

    predefined_metric_specification {
      predefined_metric_type = "DynamoDBReadCapacityUtilization"
    }
  }
}

resource "aws_appautoscaling_target" "dynamodb_status_index_write_target" {
  count = local.is_provisioned ? 1 : 0

  max_capacity       = var.max_capacity
  min_capacity       = var.min_capacity
  resource_id        = "table/${aws_dynamodb_table.image_metadata.name}/index/StatusIndex"
  scalable_dimension = "dynamodb:index:WriteCapacityUnits"
  service_namespace  = "dynamodb"

  depends_on = [aws_appautoscaling_policy.dynamodb_status_index_read_policy]
}

resource "aws_appautoscaling_policy" "dynamodb_status_index_write_policy" {
  count = local.is_provisioned ? 1 : 0

  name               = "${var.table_name}-StatusIndex-writes"
  policy_type        = "TargetTrackingScaling"
  resource_id        = aws_appautoscaling_target.dynamodb_status_index_write_target[0].resource_id
  scalable_dimension = aws_appautoscaling_target.dynamodb_status_index_write_target[0].scalable_dimension
  service_namespace  = aws_appautoscaling_target.dynamodb_status_index_write_target[0].service_namespace

  target_tracking_scaling_policy_configuration {
    target_value = var.target_utilization

    predefined_metric_specification {
      predefined_metric_type = "DynamoDBWriteCapacityUtilization"
    }
  }
}

resource "aws_appautoscaling_target" "dynamodb_date_index_read_target" {
  count = local.is_provisioned ? 1 : 0

  max_capacity       = var.max_capacity
  min_capacity       = var.min_capacity
  resource_id        = "table/${aws_dynamodb_table.image_metadata.name}/index/DateIndex"
  scalable_dimension = "dynamodb:index:ReadCapacityUnits"
  service_namespace  = "dynamodb"

  depends_on = [aws_appautoscaling_policy.dynamodb_status_index_write_policy]
}

resource "aws_appautoscaling_policy" "dynamodb_date_index_read_policy" {
  count = local.is_provisioned ? 1 : 0

  name               = "${var.table_name}-DateIndex-reads"
  policy_type        = "TargetTrackingScaling"
  resource_id        = aws_appautoscaling_target.dynamodb_date_index_read_target[0].resource_id
  scalable_dimension = aws_appautoscaling_target.dynamodb_date_index_read_target[0].scalable_dimension
  service_namespace  = aws_appautoscaling_target.dynamodb_date_index_read_target[0].service_namespace

  target_tracking_scaling_policy_configuration {
    target_value = var.target_utilization

    predefined_metric_specification {
      predefined_metric_type = "DynamoDBReadCapacityUtilization"
    }
  }
}

resource "aws_appautoscaling_target" "dynamodb_date_index_write_target" {
  count = local.is_provisioned ? 1 : 0

  max_capacity       = var.max_capacity
  min_capacity       = var.min_capacity
  resource_id        = "table/${aws_dynamodb_table.image_metadata.name}/index/DateIndex"
  scalable_dimension = "dynamodb:index:WriteCapacityUnits"
  service_namespace  = "dynamodb"

  depends_on = [aws_appautoscaling_policy.dynamodb_date_index_read_policy]
}

resource "aws_appautoscaling_policy" "dynamodb_date_index_write_policy" {
  count = local.is_provisioned ? 1 : 0

  name               = "${var.table_name}-DateIndex-writes"
  policy_type        = "TargetTrackingScaling"
  resource_id        = aws_appautoscaling_target.dynamodb_date_index_write_target[0].resource_id
  scalable_dimension = aws_appautoscaling_target.dynamodb_date_index_write_target[0].scalable_dimension
  service_namespace  = aws_appautoscaling_target.dynamodb_date_index_write_target[0].service_namespace

  target_tracking_scaling_policy_configuration {
    target_value = var.target_utilization

    predefined_metric_specification {
      predefined_metric_type = "DynamoDBWriteCapacityUtilization"
    }
  }
}
