// The record: a claim under a lease, the steps as they end, the completion with the owner's statistics.
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
const PROGRESS_MS = 1000; // ours waits 100 ms at the most: with that, this would write twice more
const PROFILE_MS = 60_000;
const SHARDS = 8;
const NAMES = ["validation", "resize", "watermark"];

const client = new DynamoDBClient({ requestHandler: { httpAgent: { keepAlive: true, maxSockets: 64 } } });
const profiles = new Map();

export async function profileOf(userId) {
  const known = profiles.get(userId);
  if (known && Date.now() - known.at < PROFILE_MS) return known.item;
  const item = client
    .send(new GetItemCommand({ TableName: TABLE, Key: keyOf("user_profile", userId) }))
    .then((answer) => answer.Item);
  profiles.set(userId, { at: Date.now(), item });
  item.catch(() => profiles.delete(userId));
  return item;
}

// Null when the picture is done, or somebody else has it.
export async function claim(job) {
  const claimed = { ...job, attempt: 1, owner: `${WORKER}/${randomUUID()}`, entries: [], wroteAt: Date.now() };
  const at = now();
  claimed.steps = {
    validation: { status: "processing", startedAt: at },
    resize: { status: "pending" },
    watermark: { status: "pending" },
  };
  claimed.entries = [{ at, status: "processing" }, { at, step: "validation", status: "processing" }];
  const set = () => ({
    ...progressOf(claimed, at),
    status: { S: "processing" },
    statusShard: { S: `processing#${shard(job.imageId)}` },
    attempt: { N: String(claimed.attempt) },
    leaseOwner: { S: claimed.owner },
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
    await write(claimed, set(), "attribute_not_exists(imageId)", {});
  } catch (refused) {
    if (!(refused instanceof ConditionalCheckFailedException)) throw refused;
    const { status, leaseExpiresAt, attempt } = refused.Item;
    if (status.S === "completed") return null;
    if (status.S === "processing" && Number(leaseExpiresAt.N) > Date.now()) throw new Error("held by another");
    claimed.attempt = Number(attempt.N) + 1;
    await write(claimed, set(), "attempt = :seen AND leaseExpiresAt = :lease", {
      ":seen": attempt,
      ":lease": leaseExpiresAt,
    });
  }
  claimed.entries = [];
  return claimed;
}

export async function stepEnded(claimed, name, detail) {
  const at = now();
  Object.assign(claimed.steps[name], { status: "completed", completedAt: at }, detail);
  claimed.entries.push({ at, step: name, status: "completed" });
  const next = NAMES[NAMES.indexOf(name) + 1];
  if (next) {
    Object.assign(claimed.steps[next], { status: "processing", startedAt: at });
    claimed.entries.push({ at, step: next, status: "processing" });
  }
  if (Date.now() - claimed.wroteAt < PROGRESS_MS) return; // it goes with the next write
  await write(claimed, progressOf(claimed, at), HELD, held(claimed));
  claimed.entries = [];
  claimed.wroteAt = Date.now();
}

export async function complete(claimed, result) {
  const at = now();
  claimed.entries.push({ at, status: "completed" });
  const image = update(
    claimed,
    {
      ...progressOf(claimed, at),
      status: { S: "completed" },
      statusShard: { S: `completed#${shard(claimed.imageId)}` },
      processedAt: { S: at },
      processedS3Key: { S: result.key },
      originalFileSize: { N: String(result.bytesIn) },
      originalFileType: { S: result.type },
      countedBytes: { N: String(result.bytesIn + result.bytes) },
      renditions: {
        M: {
          medium: wrap({
            key: result.key, width: result.width, height: result.height,
            bytes: result.bytes, format: "jpeg", eTag: result.eTag,
          }),
        },
      },
    },
    HELD,
    held(claimed),
    " REMOVE leaseOwner, leaseExpiresAt",
  );
  const profile = {
    TableName: TABLE,
    Key: keyOf("user_profile", claimed.userId),
    UpdateExpression:
      "SET updatedAt = :at, #s.totalImages = #s.totalImages + :one, " +
      "#s.totalStorageUsed = #s.totalStorageUsed + :bytes, #s.lastUploadAt = :upload",
    ConditionExpression: "attribute_exists(#s)",
    ExpressionAttributeNames: { "#s": "statistics" },
    ExpressionAttributeValues: {
      ":at": { S: at },
      ":one": { N: "1" },
      ":bytes": { N: String(result.bytesIn + result.bytes) },
      ":upload": { S: claimed.eventTime },
    },
  };
  const command = new TransactWriteItemsCommand({
    TransactItems: [{ Update: image }, { Update: profile }],
    ClientRequestToken: claimed.owner.slice(-36),
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

const HELD = "leaseOwner = :owner AND attempt = :attempt AND #status = :processing";

function held(claimed) {
  return {
    ":owner": { S: claimed.owner },
    ":attempt": { N: String(claimed.attempt) },
    ":processing": { S: "processing" },
  };
}

function progressOf(claimed, at) {
  const history = claimed.entries.map((entry) => wrap({ ...entry, attempt: claimed.attempt, worker: WORKER }));
  return { processingSteps: wrap(claimed.steps), updatedAt: { S: at }, history: { L: history } };
}

function update(claimed, set, condition, values, more = "") {
  const parts = [];
  const placeholders = {};
  for (const [name, value] of Object.entries(set)) {
    placeholders[`:_${name}`] = value;
    if (name === "history") parts.push("history = list_append(if_not_exists(history, :none), :_history)");
    else parts.push(`${name === "status" ? "#status" : name} = :_${name}`);
  }
  const usesStatus = "status" in set || condition.includes("#status");
  return {
    TableName: TABLE,
    Key: keyOf(claimed.imageId, claimed.userId),
    UpdateExpression: `SET ${parts.join(", ")}${more}`,
    ConditionExpression: condition,
    ExpressionAttributeNames: usesStatus ? { "#status": "status" } : undefined,
    ExpressionAttributeValues: { ...placeholders, ...values, ":none": { L: [] } },
  };
}

function write(claimed, set, condition, values) {
  const request = update(claimed, set, condition, values);
  return client.send(new UpdateItemCommand({ ...request, ReturnValuesOnConditionCheckFailure: "ALL_OLD" }));
}

function wrap(value) {
  if (typeof value === "string") return { S: value };
  if (typeof value === "number") return { N: String(value) };
  return { M: Object.fromEntries(Object.entries(value).map(([name, one]) => [name, wrap(one)])) };
}

const keyOf = (imageId, userId) => ({ imageId: { S: imageId }, userId: { S: userId } });
const shard = (imageId) => String(crc32(imageId) % SHARDS).padStart(2, "0");
const now = () => new Date().toISOString();
