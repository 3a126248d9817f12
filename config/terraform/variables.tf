# The parameters of the CloudFormation templates, with their defaults and limits.

variable "name" {
  type        = string
  default     = "image-worker"
  description = "Prefix of the names of IAM policies and roles, and the name of the key's alias; the templates use the name of the stack."

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,30}$", var.name))
    error_message = "name has 1 to 30 letters, digits, hyphens and underscores."
  }
}

variable "bucket_name" {
  type        = string
  default     = "image-uploads"
  description = "Bucket that images are uploaded to (WORKER_BUCKET)."

  validation {
    condition     = length(var.bucket_name) >= 3 && length(var.bucket_name) <= 63
    error_message = "bucket_name has 3 to 63 characters."
  }
}

variable "output_bucket_name" {
  type        = string
  default     = ""
  description = "Bucket for results (WORKER_OUTPUT_BUCKET); the upload bucket if empty."

  validation {
    condition     = length(var.output_bucket_name) <= 63
    error_message = "output_bucket_name has at most 63 characters."
  }
}

variable "uploads_prefix" {
  type        = string
  default     = "uploads/"
  description = "Key prefix of uploads; S3 sends notifications for these objects only (WORKER_UPLOADS_PREFIX, or the text that WORKER_UPLOAD_KEY begins with). If empty, all objects of the bucket are uploads."
}

variable "logos_prefix" {
  type        = string
  default     = "logos/"
  description = "Key prefix of the logos that users name for their watermarks (WORKER_WATERMARK_LOGOS_PREFIX)."

  validation {
    condition     = length(var.logos_prefix) >= 1
    error_message = "logos_prefix is not empty."
  }
}

variable "processed_prefix" {
  type        = string
  default     = "processed/"
  description = "Key prefix of results (WORKER_PROCESSED_PREFIX)."

  validation {
    condition     = length(var.processed_prefix) >= 1
    error_message = "processed_prefix is not empty."
  }
}

variable "bucket_versioning" {
  type        = bool
  default     = false
  description = "Whether versions of overwritten and deleted objects are kept for 30 days."
}

variable "queue_name" {
  type        = string
  default     = "image-events"
  description = "Queue that receives the S3 event notifications (WORKER_QUEUE_NAME)."

  validation {
    condition     = length(var.queue_name) >= 1 && length(var.queue_name) <= 80
    error_message = "queue_name has 1 to 80 characters."
  }
}

variable "dead_letter_queue_name" {
  type        = string
  default     = "image-events-dead"
  description = "Dead-letter queue (WORKER_DEAD_LETTER_QUEUE_NAME)."

  validation {
    condition     = length(var.dead_letter_queue_name) >= 1 && length(var.dead_letter_queue_name) <= 80
    error_message = "dead_letter_queue_name has 1 to 80 characters."
  }
}

variable "visibility_timeout" {
  type        = number
  default     = 60
  description = "Visibility timeout in seconds (WORKER_VISIBILITY_TIMEOUT_S)."

  validation {
    condition     = var.visibility_timeout >= 6 && var.visibility_timeout <= 43200
    error_message = "visibility_timeout is between 6 and 43200."
  }
}

variable "max_receive_count" {
  type        = number
  default     = 8
  description = "Receives after which SQS moves a message to the dead-letter queue. Three more than WORKER_MAX_RECEIVES, so that the worker sends it there first, with the reason."

  validation {
    condition     = var.max_receive_count >= 1 && var.max_receive_count <= 1000
    error_message = "max_receive_count is between 1 and 1000."
  }
}

variable "table_name" {
  type        = string
  default     = "image-processing-metadata"
  description = "Table of the records (WORKER_TABLE_NAME)."

  validation {
    condition     = length(var.table_name) >= 3 && length(var.table_name) <= 255
    error_message = "table_name has 3 to 255 characters."
  }
}

variable "additional_table_name" {
  type        = string
  default     = ""
  description = "One more table that the policies allow access to, such as one that was restored from a backup. None if empty."

  validation {
    condition     = length(var.additional_table_name) <= 255
    error_message = "additional_table_name has at most 255 characters."
  }
}

variable "billing_mode" {
  type        = string
  default     = "PAY_PER_REQUEST"
  description = "PAY_PER_REQUEST, or PROVISIONED: 5 read units and 5 write units at first, which autoscaling changes between min_capacity and max_capacity."

  validation {
    condition     = contains(["PAY_PER_REQUEST", "PROVISIONED"], var.billing_mode)
    error_message = "billing_mode is one of PAY_PER_REQUEST, PROVISIONED."
  }
}

variable "max_read_request_units" {
  type        = number
  default     = 0
  description = "Ceiling of the read units per second of the table and of each index in billing mode PAY_PER_REQUEST, which limits their cost; DynamoDB throttles requests above it. 0 sets no ceiling."

  validation {
    condition     = var.max_read_request_units >= 0
    error_message = "max_read_request_units is at least 0."
  }
}

variable "max_write_request_units" {
  type        = number
  default     = 0
  description = "Ceiling of the write units per second of the table and of each index in billing mode PAY_PER_REQUEST. An image takes about 9 write units of the table, so 900 units are 100 images per second. 0 sets no ceiling."

  validation {
    condition     = var.max_write_request_units >= 0
    error_message = "max_write_request_units is at least 0."
  }
}

variable "warm_read_units" {
  type        = number
  default     = 0
  description = "Read units per second that the table and each index can serve at once (warm throughput), at least 12000. 0 leaves it to DynamoDB, or means 12000 if warm_write_units is set."

  validation {
    condition     = var.warm_read_units >= 0
    error_message = "warm_read_units is at least 0."
  }
}

variable "warm_write_units" {
  type        = number
  default     = 0
  description = "Write units per second that the table and each index can serve at once, at least 4000. 0 leaves it to DynamoDB, or means 4000 if warm_read_units is set."

  validation {
    condition     = var.warm_write_units >= 0
    error_message = "warm_write_units is at least 0."
  }
}

variable "contributor_insights" {
  type        = string
  default     = "Disabled"
  description = "Whether CloudWatch Contributor Insights reports the keys of the table and of each index that are throttled, or also those that are used most, at a cost per event."

  validation {
    condition     = contains(["Disabled", "THROTTLED_KEYS", "ACCESSED_AND_THROTTLED_KEYS"], var.contributor_insights)
    error_message = "contributor_insights is one of Disabled, THROTTLED_KEYS, ACCESSED_AND_THROTTLED_KEYS."
  }
}

variable "require_scan" {
  type        = bool
  default     = false
  description = "Whether the queue receives the results of GuardDuty's malware scans in place of notifications of uploads (WORKER_REQUIRE_SCAN). The Malware Protection plan of the bucket is not part of this module."
}

variable "cors_origins" {
  type        = list(string)
  default     = []
  description = "Origins whose pages may upload by a form, such as https://www.example.com; none if empty."
}

variable "stream" {
  type        = bool
  default     = false
  description = "Whether the table has a stream, from which applications receive events (WORKER_EVENTS); events_pipe publishes them. `image-worker events delete-expired` reads it too (WORKER_DELETE_EXPIRED_OBJECTS)."
}

variable "events_dead_letter_queue_name" {
  type        = string
  default     = "image-state-changes-dead"
  description = "Dead-letter queue for events that cannot be delivered (WORKER_EVENTS_DEAD_LETTER_QUEUE_NAME)."

  validation {
    condition     = length(var.events_dead_letter_queue_name) >= 1 && length(var.events_dead_letter_queue_name) <= 80
    error_message = "events_dead_letter_queue_name has 1 to 80 characters."
  }
}

variable "distribution_arn" {
  type        = string
  default     = ""
  description = "ARN of the CloudFront distribution whose origin access control may read results (docs/caching.md); none if empty."

  validation {
    condition     = can(regex("^(arn:[a-z-]+:cloudfront::[0-9]{12}:distribution/[A-Z0-9]+)?$", var.distribution_arn))
    error_message = "distribution_arn is not the ARN of that kind of resource."
  }
}

variable "events_pipe_name" {
  type        = string
  default     = "image-worker-events"
  description = "Pipe that publishes events (WORKER_EVENTS_PIPE_NAME), which the console's checks describe."

  validation {
    condition     = length(var.events_pipe_name) >= 1 && length(var.events_pipe_name) <= 64
    error_message = "events_pipe_name has 1 to 64 characters."
  }
}

variable "key_arn" {
  type        = string
  default     = ""
  description = "ARN of an existing KMS key of this region; the module creates one if empty. Its key policy needs the statements of the key in key.tf."

  validation {
    condition     = can(regex("^(arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+)?$", var.key_arn))
    error_message = "key_arn is not the ARN of that kind of resource."
  }
}

variable "reader_identity" {
  type        = string
  default     = "cognito-identity.amazonaws.com:sub"
  description = "Policy variable that contains the user id of a reader, such as aws:PrincipalTag/userId."

  validation {
    condition     = can(regex("^[A-Za-z0-9.:/_-]+$", var.reader_identity))
    error_message = "reader_identity matches [A-Za-z0-9.:/_-]+."
  }
}

variable "min_capacity" {
  type        = number
  default     = 5
  description = "Minimum read units and write units per second of the table and of each index."

  validation {
    condition     = var.min_capacity >= 1
    error_message = "min_capacity is at least 1."
  }
}

variable "max_capacity" {
  type        = number
  default     = 100
  description = "Maximum read units and write units per second of the table and of each index. An image takes about 9 write units of the table and 2 or 3 of each index, so 100 units are 11 images per second."

  validation {
    condition     = var.max_capacity >= 1
    error_message = "max_capacity is at least 1."
  }
}

variable "target_utilization" {
  type        = number
  default     = 70
  description = "Target utilization of the capacity, in percent."

  validation {
    condition     = var.target_utilization >= 20 && var.target_utilization <= 90
    error_message = "target_utilization is between 20 and 90."
  }
}

variable "events_pipe" {
  type        = bool
  default     = false
  description = "Whether a pipe publishes events from the table's stream."

  validation {
    condition     = !var.events_pipe || var.stream
    error_message = "events_pipe needs stream = true."
  }
}

variable "events_target_type" {
  type        = string
  default     = "bus"
  description = "Kind of the target."

  validation {
    condition     = contains(["bus", "queue", "topic"], var.events_target_type)
    error_message = "events_target_type is one of bus, queue, topic."
  }
}

variable "events_target_arn" {
  type        = string
  default     = ""
  description = "ARN of the EventBridge bus, SQS queue or SNS topic that receives events (WORKER_EVENTS_TARGET); the default bus of the account if empty."

  validation {
    condition     = var.events_target_type == "bus" || var.events_target_arn != ""
    error_message = "Set events_target_arn to the ARN of the queue or topic."
  }
}

variable "events_target_key_arn" {
  type        = string
  default     = ""
  description = "KMS key of an encrypted target queue or topic; empty if it has none."
}

variable "events_max_age_seconds" {
  type        = number
  default     = 86400
  description = "How long the pipe retries a batch; a stream keeps changes for 24 hours."

  validation {
    condition     = var.events_max_age_seconds >= 60 && var.events_max_age_seconds <= 86400
    error_message = "events_max_age_seconds is between 60 and 86400."
  }
}

variable "events_max_attempts" {
  type        = number
  default     = 185
  description = "How often the pipe retries a batch."

  validation {
    condition     = var.events_max_attempts >= 1 && var.events_max_attempts <= 10000
    error_message = "events_max_attempts is between 1 and 10000."
  }
}

variable "topic_arn" {
  type        = string
  default     = ""
  description = "SNS topic notified when an alarm starts and ends; no notifications if empty."
}
