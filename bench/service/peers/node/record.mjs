// The image's record in DynamoDB: claim with a lease, step progress, completion with the owner's statistics.
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { crc32 } from "node:zlib";
import {
  ConditionalCheckFailedException,
  DynamoDBClient,
  GetItemCommand,
  TransactWriteItemsCommand,
  TransactionCanceledException,
  UpdateItemCommand,
} from "@aws-sdk/client-dynamodb";

const TABLE = process.env.WORKER_TABLE_NAME;
const WORKER = `${hostname()}-${process.pid}`;
const LEASE_MS = 60_000;
const PROGRESS_INTERVAL_MS = 1000; // image-worker writes after at most 100 ms: two more writes per image here
const PROFILE_TTL_MS = 60_000;
const SHARDS = 8;
const STEPS = ["validation", "resize", "watermark"];
const HOLDS_LEASE = "leaseOwner = :owner AND attempt = :attempt AND #status = :processing";

const client = new DynamoDBClient({ requestHandler: { httpAgent: { keepAlive: true, maxSockets: 64 } } });
const profiles = new Map();

export async function getProfile(userId) {
  const cached = profiles.get(userId);
  if (cached && Date.now() - cached.at < PROFILE_TTL_MS) return cached.item;
  const item = client
    .send(new GetItemCommand({ TableName: TABLE, Key: keyOf("user_profile", userId) }))
    .then((response) => response.Item);
  profiles.set(userId, { at: Date.now(), item });
  item.catch(() => profiles.delete(userId));
  return item;
}

// Returns null if the image is completed; throws if another worker holds the lease.
export async function claim(job) {
  const attempt = { ...job, number: 1, owner: `${WORKER}/${randomUUID()}`, unwritten: [], writtenAt: Date.now() };
  const at = now();
  attempt.steps = {
    validation: { status: "processing", startedAt: at },
    resize: { status: "pending" },
    watermark: { status: "pending" },
  };
  attempt.unwritten = [{ at, status: "processing" }, { at, step: "validation", status: "processing" }];
  const changes = () => ({
    ...progressOf(attempt, at),
    status: { S: "processing" },
    statusShard: { S: `processing#${shard(job.imageId)}` },
    attempt: { N: String(attempt.number) },
    leaseOwner: { S: attempt.owner },
    leaseExpiresAt: { N: String(Date.now() + LEASE_MS) },
    recipe: { S: "medium-text" },
    originalS3Key: { S: job.key },
    originalFileName: { S: job.key.slice(job.key.lastIndexOf("/") + 1) },
    sourceBucket: { S: job.bucket },
    sourceVersion: { M: { eTag: { S: job.eTag }, sequencer: { S: job.sequencer } } },
    createdAt: { S: job.eventTime },
    dateShard: { S: `${job.eventTime.slice(0, 10)}#${shard(job.imageId)}` },
  });
  try {
    await write(attempt, changes(), "attribute_not_exists(imageId)", {});
  } catch (error) {
    if (!(error instanceof ConditionalCheckFailedException)) throw error;
    const { status, leaseExpiresAt, attempt: lastAttempt } = error.Item;
    if (status.S === "completed") return null;
    if (status.S === "processing" && Number(leaseExpiresAt.N) > Date.now()) {
      throw new Error("another worker holds the lease");
    }
    attempt.number = Number(lastAttempt.N) + 1;
    await write(attempt, changes(), "attempt = :seen AND leaseExpiresAt = :lease", {
      ":seen": lastAttempt,
      ":lease": leaseExpiresAt,
    });
  }
  attempt.unwritten = [];
  return attempt;
}

export async function completeStep(attempt, name, details) {
  const at = now();
  Object.assign(attempt.steps[name], { status: "completed", completedAt: at }, details);
  attempt.unwritten.push({ at, step: name, status: "completed" });
  const next = STEPS[STEPS.indexOf(name) + 1];
  if (next) {
    Object.assign(attempt.steps[next], { status: "processing", startedAt: at });
    attempt.unwritten.push({ at, step: next, status: "processing" });
  }
  if (Date.now() - attempt.writtenAt < PROGRESS_INTERVAL_MS) return; // included in the next write
  await write(attempt, progressOf(attempt, at), HOLDS_LEASE, leaseValues(attempt));
  attempt.unwritten = [];
  attempt.writtenAt = Date.now();
}

export async function completeImage(attempt, result) {
  const at = now();
  attempt.unwritten.push({ at, status: "completed" });
  const image = update(
    attempt,
    {
      ...progressOf(attempt, at),
      status: { S: "completed" },
      statusShard: { S: `completed#${shard(attempt.imageId)}` },
      processedAt: { S: at },
      processedS3Key: { S: result.key },
      originalFileSize: { N: String(result.bytesIn) },
      originalFileType: { S: result.type },
      countedBytes: { N: String(result.bytesIn + result.bytes) },
      renditions: {
        M: {
          medium: attributeOf({
            key: result.key, width: result.width, height: result.height,
            bytes: result.bytes, format: "jpeg", eTag: result.eTag,
          }),
        },
      },
    },
    HOLDS_LEASE,
    leaseValues(attempt),
    " REMOVE leaseOwner, leaseExpiresAt",
  );
  const profile = {
    TableName: TABLE,
    Key: keyOf("user_profile", attempt.userId),
    UpdateExpression:
      "SET updatedAt = :at, #s.totalImages = #s.totalImages + :one, " +
      "#s.totalStorageUsed = #s.totalStorageUsed + :bytes, #s.lastUploadAt = :upload",
    ConditionExpression: "attribute_exists(#s)",
    ExpressionAttributeNames: { "#s": "statistics" },
    ExpressionAttributeValues: {
      ":at": { S: at },
      ":one": { N: "1" },
      ":bytes": { N: String(result.bytesIn + result.bytes) },
      ":upload": { S: attempt.eventTime },
    },
  };
  const command = new TransactWriteItemsCommand({
    TransactItems: [{ Update: image }, { Update: profile }],
    ClientRequestToken: attempt.owner.slice(-36),
  });
  for (;;) {
    try {
      return await client.send(command);
    } catch (error) {
      const isConflict =
        error instanceof TransactionCanceledException &&
        error.CancellationReasons.every(({ Code }) => ["None", "TransactionConflict"].includes(Code));
      if (!isConflict) throw error;
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 50));
    }
  }
}

function leaseValues(attempt) {
  return {
    ":owner": { S: attempt.owner },
    ":attempt": { N: String(attempt.number) },
    ":processing": { S: "processing" },
  };
}

function progressOf(attempt, at) {
  const history = attempt.unwritten.map((entry) =>
    attributeOf({ ...entry, attempt: attempt.number, worker: WORKER }),
  );
  return { processingSteps: attributeOf(attempt.steps), updatedAt: { S: at }, history: { L: history } };
}

function update(attempt, changes, condition, values, suffix = "") {
  const assignments = [];
  const placeholders = {};
  for (const [name, value] of Object.entries(changes)) {
    placeholders[`:_${name}`] = value;
    if (name === "history") assignments.push("history = list_append(if_not_exists(history, :none), :_history)");
    else assignments.push(`${name === "status" ? "#status" : name} = :_${name}`);
  }
  const usesStatus = "status" in changes || condition.includes("#status");
  return {
    TableName: TABLE,
    Key: keyOf(attempt.imageId, attempt.userId),
    UpdateExpression: `SET ${assignments.join(", ")}${suffix}`,
    ConditionExpression: condition,
    ExpressionAttributeNames: usesStatus ? { "#status": "status" } : undefined,
    ExpressionAttributeValues: { ...placeholders, ...values, ":none": { L: [] } },
  };
}

function write(attempt, changes, condition, values) {
  const request = update(attempt, changes, condition, values);
  return client.send(new UpdateItemCommand({ ...request, ReturnValuesOnConditionCheckFailure: "ALL_OLD" }));
}

function attributeOf(value) {
  if (typeof value === "string") return { S: value };
  if (typeof value === "number") return { N: String(value) };
  return {
    M: Object.fromEntries(Object.entries(value).map(([name, member]) => [name, attributeOf(member)])),
  };
}

const keyOf = (imageId, userId) => ({ imageId: { S: imageId }, userId: { S: userId } });
const shard = (imageId) => String(crc32(imageId) % SHARDS).padStart(2, "0");
const now = () => new Date().toISOString();
