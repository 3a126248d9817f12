# The outputs of the templates, under their names.

output "bucket_name" {
  value = aws_s3_bucket.uploads.bucket
}

output "bucket_arn" {
  value = aws_s3_bucket.uploads.arn
}

output "output_bucket_name" {
  value = local.output_bucket
}

output "output_bucket_arn" {
  value = local.output_bucket_arn
}

output "queue_name" {
  value = aws_sqs_queue.events.name
}

output "queue_url" {
  value = aws_sqs_queue.events.url
}

output "queue_arn" {
  value = aws_sqs_queue.events.arn
}

output "dead_letter_queue_name" {
  value = aws_sqs_queue.dead_letters.name
}

output "dead_letter_queue_url" {
  value = aws_sqs_queue.dead_letters.url
}

output "dead_letter_queue_arn" {
  value = aws_sqs_queue.dead_letters.arn
}

output "table_name" {
  value = aws_dynamodb_table.image_metadata.name
}

output "table_arn" {
  value = aws_dynamodb_table.image_metadata.arn
}

output "table_stream_arn" {
  value = var.stream ? aws_dynamodb_table.image_metadata.stream_arn : null
}

output "events_dead_letter_queue_arn" {
  value = var.stream ? aws_sqs_queue.events_dead_letters[0].arn : null
}

output "key_arn" {
  value = local.key_arn
}

output "worker_policy_arn" {
  value = aws_iam_policy.worker.arn
}

output "reader_policy_arn" {
  value = aws_iam_policy.reader.arn
}

output "uploader_policy_arn" {
  value = aws_iam_policy.uploader.arn
}

output "operator_policy_arn" {
  value = aws_iam_policy.operator.arn
}

output "console_reader_policy_arn" {
  value = aws_iam_policy.console_reader.arn
}

output "console_operator_policy_arn" {
  value = aws_iam_policy.console_operator.arn
}

output "pipe_arn" {
  value = var.events_pipe ? aws_pipes_pipe.events[0].arn : null
}
