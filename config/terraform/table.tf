locals {
  # What lists show. Attributes that change with every step are left out, because each change of a projected attribute
  # costs a write to the index.
  listed_attributes = [
    "status",
    "processedAt",
    "originalFileName",
    "originalFileSize",
    "originalS3Key",
    "processedS3Key",
    "ttl",
  ]
}

resource "aws_dynamodb_table" "image_metadata" {
  name         = var.table_name
  billing_mode = var.billing_mode
  hash_key     = "imageId"
  range_key    = "userId"

  # Initial values; later applies keep what autoscaling has set.
  read_capacity  = local.is_provisioned ? 5 : null
  write_capacity = local.is_provisioned ? 5 : null

  deletion_protection_enabled = true
  stream_enabled              = var.stream
  stream_view_type            = var.stream ? "NEW_AND_OLD_IMAGES" : null

  # Attributes of keys only; DynamoDB rejects others.
  attribute {
    name = "imageId"
    type = "S"
  }

  attribute {
    name = "userId"
    type = "S"
  }

  attribute {
    name = "createdAt"
    type = "S"
  }

  attribute {
    name = "statusShard"
    type = "S"
  }

  attribute {
    name = "dateShard"
    type = "S"
  }

  global_secondary_index {
    name               = "UserImages"
    projection_type    = "INCLUDE"
    non_key_attributes = local.listed_attributes
    read_capacity      = local.is_provisioned ? 5 : null
    write_capacity     = local.is_provisioned ? 5 : null

    key_schema {
      attribute_name = "userId"
      key_type       = "HASH"
    }

    key_schema {
      attribute_name = "createdAt"
      key_type       = "RANGE"
    }

    dynamic "on_demand_throughput" {
      for_each = local.limits_requests ? [1] : []

      content {
        max_read_request_units  = var.max_read_request_units > 0 ? var.max_read_request_units : null
        max_write_request_units = var.max_write_request_units > 0 ? var.max_write_request_units : null
      }
    }

    dynamic "warm_throughput" {
      for_each = local.warms_table ? [1] : []

      content {
        read_units_per_second  = var.warm_read_units > 0 ? var.warm_read_units : 12000
        write_units_per_second = var.warm_write_units > 0 ? var.warm_write_units : 4000
      }
    }
  }

  global_secondary_index {
    name               = "StatusIndex"
    projection_type    = "INCLUDE"
    non_key_attributes = local.listed_attributes
    read_capacity      = local.is_provisioned ? 5 : null
    write_capacity     = local.is_provisioned ? 5 : null

    key_schema {
      attribute_name = "statusShard"
      key_type       = "HASH"
    }

    key_schema {
      attribute_name = "createdAt"
      key_type       = "RANGE"
    }

    dynamic "on_demand_throughput" {
      for_each = local.limits_requests ? [1] : []

      content {
        max_read_request_units  = var.max_read_request_units > 0 ? var.max_read_request_units : null
        max_write_request_units = var.max_write_request_units > 0 ? var.max_write_request_units : null
      }
    }

    dynamic "warm_throughput" {
      for_each = local.warms_table ? [1] : []

      content {
        read_units_per_second  = var.warm_read_units > 0 ? var.warm_read_units : 12000
        write_units_per_second = var.warm_write_units > 0 ? var.warm_write_units : 4000
      }
    }
  }

  global_secondary_index {
    name               = "DateIndex"
    projection_type    = "INCLUDE"
    non_key_attributes = local.listed_attributes
    read_capacity      = local.is_provisioned ? 5 : null
    write_capacity     = local.is_provisioned ? 5 : null

    key_schema {
      attribute_name = "dateShard"
      key_type       = "HASH"
    }

    key_schema {
      attribute_name = "createdAt"
      key_type       = "RANGE"
    }

    dynamic "on_demand_throughput" {
      for_each = local.limits_requests ? [1] : []

      content {
        max_read_request_units  = var.max_read_request_units > 0 ? var.max_read_request_units : null
        max_write_request_units = var.max_write_request_units > 0 ? var.max_write_request_units : null
      }
    }

    dynamic "warm_throughput" {
      for_each = local.warms_table ? [1] : []

      content {
        read_units_per_second  = var.warm_read_units > 0 ? var.warm_read_units : 12000
        write_units_per_second = var.warm_write_units > 0 ? var.warm_write_units : 4000
      }
    }
  }

  dynamic "on_demand_throughput" {
    for_each = local.limits_requests ? [1] : []

    content {
      max_read_request_units  = var.max_read_request_units > 0 ? var.max_read_request_units : null
      max_write_request_units = var.max_write_request_units > 0 ? var.max_write_request_units : null
    }
  }

  dynamic "warm_throughput" {
    for_each = local.warms_table ? [1] : []

    content {
      read_units_per_second  = var.warm_read_units > 0 ? var.warm_read_units : 12000
      write_units_per_second = var.warm_write_units > 0 ? var.warm_write_units : 4000
    }
  }

  ttl {
    attribute_name = "ttl"
    enabled        = true
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = local.key_arn
  }

  lifecycle {
    prevent_destroy = true
    # The units that autoscaling sets. Those of an index, and the warm throughput that DynamoDB raises by itself, cannot
    # be ignored alone; README.md describes how an index is changed.
    ignore_changes = [read_capacity, write_capacity, global_secondary_index, warm_throughput]
  }
}

# Reports the keys that are throttled, or also those that are used most.
resource "aws_dynamodb_contributor_insights" "table" {
  count = local.has_insights ? 1 : 0

  table_name = aws_dynamodb_table.image_metadata.name
  mode       = var.contributor_insights
}

resource "aws_dynamodb_contributor_insights" "index" {
  for_each = toset(local.has_insights ? ["UserImages", "StatusIndex", "DateIndex"] : [])

  table_name = aws_dynamodb_table.image_metadata.name
  index_name = each.value
  mode       = var.contributor_insights
}
