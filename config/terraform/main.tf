# The resources of config/cloudformation/storage.yaml, capacity.yaml and events.yaml, and the two throttle alarms of
# alarms.yaml. A test compares them property by property, so a change here needs the same change there.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account    = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.region
  url_suffix = data.aws_partition.current.dns_suffix

  creates_key       = var.key_arn == ""
  has_output_bucket = var.output_bucket_name != "" && var.output_bucket_name != var.bucket_name
  has_distribution  = var.distribution_arn != ""
  is_provisioned    = var.billing_mode == "PROVISIONED"
  limits_requests   = !local.is_provisioned && (var.max_read_request_units > 0 || var.max_write_request_units > 0)
  warms_table       = var.warm_read_units > 0 || var.warm_write_units > 0
  has_insights      = var.contributor_insights != "Disabled"

  key_arn           = local.creates_key ? aws_kms_key.image_worker[0].arn : var.key_arn
  output_bucket     = local.has_output_bucket ? aws_s3_bucket.output[0].bucket : aws_s3_bucket.uploads.bucket
  output_bucket_arn = local.has_output_bucket ? aws_s3_bucket.output[0].arn : aws_s3_bucket.uploads.arn

  # The tables that the policies allow access to.
  table_arns = concat(
    [aws_dynamodb_table.image_metadata.arn],
    var.additional_table_name != "" ? [
      "arn:${local.partition}:dynamodb:${local.region}:${local.account}:table/${var.additional_table_name}",
    ] : [],
  )

  via_s3       = "s3.${local.region}.${local.url_suffix}"
  via_sqs      = "sqs.${local.region}.${local.url_suffix}"
  via_sns      = "sns.${local.region}.${local.url_suffix}"
  via_dynamodb = "dynamodb.${local.region}.${local.url_suffix}"
}
