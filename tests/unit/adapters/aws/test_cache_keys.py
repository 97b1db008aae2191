"""Keys of the cache: whose objects they open, how long, and where."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.aws.cache_keys import CacheKeys, CacheScope
from fleet.errors import Refused
from fleet.machine.mailbox import CacheBucket
from tests.fakes import AT
from tests.unit.adapters.stubs import scripted

ROLE = "arn:aws-cn:iam::123456789012:role/fleet-CacheRole-1"
SCOPE = CacheScope(
    project_id=7, is_protected=False, session="rf-docker-1", lasts=timedelta(minutes=30)
)
GIVEN = {
    "AccessKeyId": "ASIA000000000000",
    "SecretAccessKey": "s3cret",
    "SessionToken": "t0ken",
    "Expiration": AT,
}


def asked_for(scope: CacheScope, environment: Mapping[str, str]) -> tuple[CacheBucket, Any]:
    """What is handed out, and the request to STS."""
    requests: list[Any] = []
    with scripted("sts") as (client, script):
        script.add_response("assume_role", {"Credentials": GIVEN})
        note = "provide-client-params.sts.AssumeRole"
        client.meta.events.register(note, lambda params, **_: requests.append(params), "note")
        try:
            keys = CacheKeys(client, bucket="fleet-cache", role=ROLE, environment=environment)
            return keys.of(scope), requests[0]
        finally:
            client.meta.events.unregister(note, unique_id="note")


@pytest.mark.parametrize(("is_protected", "prefix"), [(False, "open"), (True, "protected")])
def test_the_keys_open_one_projects_objects_of_one_trust_level(
    *, is_protected: bool, prefix: str
) -> None:
    bucket, request = asked_for(replace(SCOPE, is_protected=is_protected), {})
    objects, listing = json.loads(request["Policy"])["Statement"]
    assert objects == {
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:PutObject"],
        "Resource": f"arn:aws-cn:s3:::fleet-cache/{prefix}/project/7/*",
    }
    assert listing == {
        "Effect": "Allow",
        "Action": "s3:ListBucket",
        "Resource": "arn:aws-cn:s3:::fleet-cache",
        "Condition": {"StringLike": {"s3:prefix": f"{prefix}/project/7/*"}},
    }
    assert bucket.prefix == prefix
    assert len(request["Policy"]) < 2048, "STS takes no more"


@pytest.mark.parametrize(
    ("lasts", "granted_s"),
    [(timedelta(minutes=30), 1800), (timedelta(minutes=1), 900), (timedelta(hours=3), 3600)],
)
def test_the_keys_last_as_long_as_the_job_within_the_limits_of_sts(
    lasts: timedelta, granted_s: int
) -> None:
    bucket, request = asked_for(replace(SCOPE, lasts=lasts), {})
    assert request["DurationSeconds"] == granted_s
    assert bucket.keys_end_at == AT


@pytest.mark.parametrize(
    ("environment", "server", "insecure"),
    [
        pytest.param({}, None, False, id="AWS itself"),
        pytest.param({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "127.0.0.1:1", True, id="plain"),
        pytest.param(
            {"AWS_ENDPOINT_URL": "http://all", "AWS_ENDPOINT_URL_S3": "https://s3.example.com"},
            "s3.example.com",
            False,
            id="S3's own, over TLS",
        ),
    ],
)
def test_the_bucket_is_where_the_functions_environment_says(
    environment: dict[str, str], server: str | None, *, insecure: bool
) -> None:
    bucket, request = asked_for(SCOPE, environment)
    assert (bucket.server, bucket.insecure) == (server, insecure)
    assert (bucket.bucket, bucket.region) == ("fleet-cache", "eu-central-1")
    assert (bucket.access_key, bucket.secret_key) == ("ASIA000000000000", "s3cret")
    assert bucket.session_token == "t0ken"
    assert not {"s3cret", "t0ken"} & set(re.findall(r"\w+", repr(bucket))), "printed"
    assert (request["RoleArn"], request["RoleSessionName"]) == (ROLE, "rf-docker-1")


def test_a_refusal_is_one_of_ours() -> None:
    with scripted("sts") as (client, script):
        script.add_client_error("assume_role", "AccessDenied")
        with pytest.raises(Refused):
            CacheKeys(client, bucket="b", role=ROLE, environment={}).of(SCOPE)
