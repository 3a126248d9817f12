// The service on sqs-consumer: each batch is received, processed in parallel, and deleted in one request.
import { GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { SQSClient } from "@aws-sdk/client-sqs";
import { Consumer } from "sqs-consumer";
import { claim, completeImage, completeStep, getProfile } from "./record.mjs";
import { steps } from "./steps.mjs";

const CONSUMERS = 2; // one receives and deletes while the other processes
const requestHandler = { httpAgent: { keepAlive: true, maxSockets: 64 } };
const s3 = new S3Client({ forcePathStyle: true, requestHandler });
const sqs = new SQSClient({ requestHandler });

const consumers = Array.from({ length: CONSUMERS }, () =>
  Consumer.create({
    queueUrl: process.env.PEER_QUEUE_URL,
    sqs,
    batchSize: Number(process.env.WORKER_CONCURRENCY) / CONSUMERS,
    visibilityTimeout: 60,
    heartbeatInterval: 20,
    waitTimeSeconds: 20,
    handleMessageBatch: async (messages) => {
      const results = await Promise.allSettled(messages.map(processMessage));
      results.forEach(({ reason }) => reason && log({ event: "image.released", reason: String(reason) }));
      return messages.filter((_, index) => results[index].status === "fulfilled");
    },
  }),
);
for (const consumer of consumers) {
  consumer.on("error", (error) => log({ event: "queue.unavailable", reason: String(error) }));
  consumer.on("processing_error", (error) => log({ event: "batch.failed", reason: String(error) }));
  consumer.start();
}
process.once("SIGTERM", () => {
  consumers.forEach((consumer) => consumer.stop({ abort: true }));
  process.exitCode = 0;
  setTimeout(() => process.exit(), 100);
});

async function processMessage(message) {
  for (const record of JSON.parse(message.Body).Records ?? []) {
    const { key, eTag, sequencer } = record.s3.object;
    const decodedKey = decodeURIComponent(key.replaceAll("+", " "));
    const [, userId, name] = decodedKey.split("/");
    await processImage({
      bucket: record.s3.bucket.name,
      key: decodedKey,
      userId,
      imageId: name.slice(0, name.lastIndexOf(".")),
      eTag,
      sequencer,
      eventTime: record.eventTime,
    });
  }
}

async function processImage(job) {
  const start = performance.now();
  await getProfile(job.userId);
  const attempt = await claim(job);
  if (!attempt) return;
  const source = await s3.send(
    new GetObjectCommand({ Bucket: job.bucket, Key: job.key, IfMatch: `"${job.eTag}"` }),
  );
  const state = { content: await source.Body.transformToByteArray() };
  for (const [name, step] of steps) await completeStep(attempt, name, await step(state));
  const key = `processed/${job.userId}/${job.imageId}.jpg`;
  const stored = await s3.send(
    new PutObjectCommand({
      Bucket: job.bucket,
      Key: key,
      Body: state.result,
      ContentType: "image/jpeg",
      IfNoneMatch: "*",
      Metadata: { attempt: String(attempt.number), "source-etag": job.eTag },
    }),
  );
  await completeImage(attempt, {
    key,
    bytesIn: state.content.length,
    bytes: state.result.length,
    type: source.ContentType,
    eTag: stored.ETag.replaceAll('"', ""),
    width: state.size.width,
    height: state.size.height,
  });
  const fields = { image_id: job.imageId, user_id: job.userId, ms: Math.round(performance.now() - start) };
  log({ event: "image.completed", ...fields, bytes_in: state.content.length, bytes_out: state.result.length });
}

function log(fields) {
  process.stderr.write(`${JSON.stringify({ at: new Date().toISOString(), ...fields })}\n`);
}
