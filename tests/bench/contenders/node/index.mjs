// Contender: the same request on Node with the AWS SDK for JavaScript v3, bundled by esbuild. The JWT is checked with node:crypto, which
// starts faster than a JWT library. The runtime loop at the end stands for the one that AWS ships in its Node image.
import { createPublicKey, verify } from "node:crypto";
import http from "node:http";
import { BatchGetItemCommand, DynamoDBClient, UpdateItemCommand } from "@aws-sdk/client-dynamodb";
import { GetSecretValueCommand, SecretsManagerClient } from "@aws-sdk/client-secrets-manager";
import { unmarshall } from "@aws-sdk/util-dynamodb";

const env = process.env;
const table = env.TABLE_NAME;
const reads = JSON.parse(env.BENCH_READS);
const counter = JSON.parse(env.BENCH_COUNTER);
const attributes = ({ pk, sk }) => ({ pk: { S: pk }, sk: { S: sk } });

const dynamodb = new DynamoDBClient({});
const secrets = new SecretsManagerClient({});

async function start() {
  const secret = async (id) => (await secrets.send(new GetSecretValueCommand({ SecretId: id }))).SecretString;
  const [jwks, cursors] = await Promise.all([secret(env.JWKS_SECRET_ID), secret(env.CURSORS_SECRET_ID)]);
  const keys = new Map();
  for (const jwk of JSON.parse(jwks).keys) {
    keys.set(jwk.kid, createPublicKey({ key: jwk, format: "jwk" }));
  }
  return { keys, cursors };
}

function caller(keys, authorization) {
  const token = authorization?.startsWith("Bearer ") ? authorization.slice(7) : "";
  const [head, body, signature] = token.split(".");
  if (!signature) return null;
  const header = JSON.parse(Buffer.from(head, "base64url"));
  const key = keys.get(header.kid);
  if (header.alg !== "ES256" || header.typ !== "at+jwt" || !key) return null;
  const signed = Buffer.from(`${head}.${body}`);
  if (!verify("sha256", signed, { key, dsaEncoding: "ieee-p1363" }, Buffer.from(signature, "base64url"))) return null;
  const claims = JSON.parse(Buffer.from(body, "base64url"));
  if (claims.iss !== env.PUBLIC_URL || claims.exp * 1000 <= Date.now()) return null;
  return claims.sub && claims.sid && claims.tid ? claims : null;
}

async function read() {
  const request = { Keys: reads.map(attributes), ConsistentRead: true };
  const answer = await dynamodb.send(new BatchGetItemCommand({ RequestItems: { [table]: request } }));
  return answer.Responses[table];
}

async function count() {
  const answer = await dynamodb.send(new UpdateItemCommand({
    TableName: table,
    Key: attributes(counter),
    UpdateExpression: "ADD used :one SET #ttl = :ttl",
    ExpressionAttributeNames: { "#ttl": "ttl" },
    ExpressionAttributeValues: { ":one": { N: "1" }, ":ttl": { N: String(Math.floor(Date.now() / 1000) + 120) } },
    ReturnValues: "UPDATED_NEW",
  }));
  return answer.Attributes.used.N;
}

const respond = (statusCode, body, headers = {}) => ({
  statusCode,
  headers: { "content-type": "application/json", ...headers },
  body: JSON.stringify(body),
  isBase64Encoded: false,
});

async function handler({ keys }, event) {
  if (!caller(keys, event.headers.authorization)) return respond(401, { success: false });
  const [items, used] = await Promise.all([read(), count()]);
  const item = items.find((candidate) => candidate.sk.S === env.BENCH_PROJECT);
  if (items.length !== Number(env.BENCH_ITEMS) || !item || !item.sk.S.endsWith(event.rawPath.split("/").pop())) {
    return respond(404, { success: false });
  }
  return respond(200, { success: true, message: "Success", data: unmarshall(item) }, { "x-ratelimit-remaining": used });
}

const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const [hostname, port] = env.AWS_LAMBDA_RUNTIME_API.split(":");

function call(method, path, body) {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { "content-length": Buffer.byteLength(body) };
    const request = http.request({ agent, hostname, port, method, path: `/2018-06-01/runtime${path}`, headers }, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("end", () => resolve({ headers: answer.headers, body: Buffer.concat(parts) }));
    });
    request.on("error", reject);
    request.end(body);
  });
}

const context = await start();
for (;;) {
  const next = await call("GET", "/invocation/next");
  const id = next.headers["lambda-runtime-aws-request-id"];
  const answer = await handler(context, JSON.parse(next.body));
  await call("POST", `/invocation/${id}/response`, JSON.stringify(answer));
}
