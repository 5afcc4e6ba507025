"""Contender: the same request on Python with boto3, PyJWT and AWS's own runtime client (awslambdaric)."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
import jwt
from boto3.dynamodb.types import TypeDeserializer

TABLE = os.environ["TABLE_NAME"]
ISSUER = os.environ["PUBLIC_URL"]
READS = json.loads(os.environ["BENCH_READS"])
COUNTER = json.loads(os.environ["BENCH_COUNTER"])
ITEMS = int(os.environ["BENCH_ITEMS"])
PROJECT = os.environ["BENCH_PROJECT"]


def attributes(key):
    return {"pk": {"S": key["pk"]}, "sk": {"S": key["sk"]}}


def secret(client, name):
    return client.get_secret_value(SecretId=name)["SecretString"]


POOL = ThreadPoolExecutor(2)
SECRETS = boto3.client("secretsmanager")
DYNAMODB = boto3.client("dynamodb")
JWKS = POOL.submit(secret, SECRETS, os.environ["JWKS_SECRET_ID"])
CURSORS = POOL.submit(secret, SECRETS, os.environ["CURSORS_SECRET_ID"]).result()
KEYS = {key["kid"]: jwt.PyJWK(key).key for key in json.loads(JWKS.result())["keys"]}
PLAIN = TypeDeserializer()


def caller(authorization):
    if not authorization or not authorization.startswith("Bearer "):
        return None
    token = authorization[7:]
    try:
        header = jwt.get_unverified_header(token)
        if header.get("typ") != "at+jwt":
            return None
        claims = jwt.decode(
            token,
            KEYS[header["kid"]],
            algorithms=["ES256"],
            issuer=ISSUER,
            options={"verify_aud": False, "require": ["iss", "sub", "sid", "tid", "exp"]},
        )
    except (jwt.PyJWTError, KeyError):
        return None
    return claims


def read():
    request = {TABLE: {"Keys": [attributes(key) for key in READS], "ConsistentRead": True}}
    return DYNAMODB.batch_get_item(RequestItems=request)["Responses"][TABLE]


def count():
    answer = DYNAMODB.update_item(
        TableName=TABLE,
        Key=attributes(COUNTER),
        UpdateExpression="ADD used :one SET #ttl = :ttl",
        ExpressionAttributeNames={"#ttl": "ttl"},
        ExpressionAttributeValues={":one": {"N": "1"}, ":ttl": {"N": str(int(time.time()) + 120)}},
        ReturnValues="UPDATED_NEW",
    )
    return answer["Attributes"]["used"]["N"]


def respond(status, body, headers=None):
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json", **(headers or {})},
        "body": json.dumps(body, default=str),
        "isBase64Encoded": False,
    }


def handle(event, _context):
    if caller(event["headers"].get("authorization")) is None:
        return respond(401, {"success": False})
    counted = POOL.submit(count)
    items = read()
    used = counted.result()
    item = next((item for item in items if item["sk"]["S"] == PROJECT), None)
    if len(items) != ITEMS or item is None or not PROJECT.endswith(event["rawPath"].rsplit("/", 1)[-1]):
        return respond(404, {"success": False})
    data = {name: PLAIN.deserialize(value) for name, value in item.items()}
    return respond(200, {"success": True, "message": "Success", "data": data}, {"x-ratelimit-remaining": used})
