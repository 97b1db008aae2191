"""What a job does with keys of the cache, should it get hold of them, and who gets any."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.config import Config

from adapters.aws.cache_keys import CacheKeys, CacheScope
from tests.integration.conftest import Role, Standins
from tests.integration.test_access import refused

OWN = "open/project/7/key/cache.zip"
OTHERS = (
    "open/project/8/key/cache.zip",
    "open/project/70/key/cache.zip",
    "open/project/7",
    "open/project/7x/key",
    "open/project/",
    "protected/project/7/key/cache.zip",
    "protected/project/8/key/cache.zip",
    "project/7/key",
    "open/project/../project/8/key",
    "any",
)
ROLES = ("Runner4gbRole", "RouteRole", "SettleRole", "ReconcileRole", "SweepRole", "WebhookRole")


@contextmanager
def keys(standins: Standins, *, project_id: int = 7, is_protected: bool = False) -> Iterator[Any]:
    """S3 with what scale hands out to a runner of this project."""
    engine, stack = standins.engine, standins.stack
    environment = {"AWS_ENDPOINT_URL": engine.url}
    issuer = CacheKeys(
        standins.role("ScaleRole").client("sts"),
        bucket=stack.cache_bucket,
        role=stack.cache_role,
        environment=environment,
    )
    scope = CacheScope(
        project_id=project_id,
        is_protected=is_protected,
        session="rf-docker-1",
        lasts=timedelta(minutes=30),
    )
    issued = issuer.of(scope)
    session = boto3.Session(
        issued.access_key, issued.secret_key, issued.session_token, region_name=issued.region
    )
    config = Config(signature_version="s3v4")
    with closing(session.client("s3", endpoint_url=engine.url, config=config)) as client:
        yield client


@pytest.fixture(scope="module")
def files(standins: Standins) -> Iterator[Any]:
    """The keys of project 7's runner; all other objects exist already."""
    root = standins.engine.client("s3")
    for key in (*OTHERS, OWN):
        root.put_object(Bucket=standins.stack.cache_bucket, Key=key, Body=b"before")
    with keys(standins) as client:
        yield client


def test_a_runners_keys_open_its_projects_cache(standins: Standins, files: Any) -> None:
    bucket = standins.stack.cache_bucket
    files.put_object(Bucket=bucket, Key=OWN, Body=b"cached")
    assert files.get_object(Bucket=bucket, Key=OWN)["Body"].read() == b"cached"
    shown = files.list_objects_v2(Bucket=bucket, Prefix="open/project/7/")["Contents"]
    assert [entry["Key"] for entry in shown] == [OWN]


@pytest.mark.parametrize("key", OTHERS)
def test_no_key_of_one_project_reads_or_writes_anothers_objects(
    standins: Standins, files: Any, key: str
) -> None:
    bucket = standins.stack.cache_bucket
    assert refused(files.get_object, Bucket=bucket, Key=key)
    assert refused(files.put_object, Bucket=bucket, Key=key, Body=b"poison")
    assert refused(files.create_multipart_upload, Bucket=bucket, Key=key)
    assert refused(files.copy_object, Bucket=bucket, Key=OWN, CopySource=f"{bucket}/{key}")
    assert refused(files.copy_object, Bucket=bucket, Key=key, CopySource=f"{bucket}/{OWN}")
    assert refused(files.delete_object, Bucket=bucket, Key=key)
    for method, body in (("get_object", None), ("put_object", b"poison")):
        link = files.generate_presigned_url(method, {"Bucket": bucket, "Key": key})
        verb = "GET" if body is None else "PUT"
        with pytest.raises(HTTPError) as answer:
            urlopen(Request(link, data=body, method=verb), timeout=10)
        assert answer.value.code == 403
        answer.value.close()
    root = standins.engine.client("s3")
    assert root.get_object(Bucket=bucket, Key=key)["Body"].read() == b"before"


@pytest.mark.parametrize(
    "prefix", [None, "", "open/", "open/project/", "open/project/8/", "protected/project/7/"]
)
def test_no_key_of_one_project_lists_anothers_objects(
    standins: Standins, files: Any, prefix: str | None
) -> None:
    request = {} if prefix is None else {"Prefix": prefix}
    bucket = standins.stack.cache_bucket
    assert refused(files.list_objects_v2, Bucket=bucket, **request)
    assert refused(files.list_objects, Bucket=bucket, **request)


def test_no_key_of_the_cache_does_anything_else(standins: Standins, files: Any) -> None:
    bucket = standins.stack.cache_bucket
    calls: tuple[tuple[Callable[..., Any], dict[str, Any]], ...] = (
        (files.delete_object, {"Key": OWN}),
        (files.list_object_versions, {}),
        (files.list_multipart_uploads, {}),
        (files.get_bucket_policy, {}),
        (files.put_bucket_policy, {"Policy": "{}"}),
        (files.delete_bucket_lifecycle, {}),
    )
    for call, request in calls:
        assert refused(call, Bucket=bucket, **request), call
    assert refused(files.get_object, Bucket="fleet-code", Key="any")


def test_an_unprotected_job_never_writes_what_a_protected_one_reads(standins: Standins) -> None:
    bucket = standins.stack.cache_bucket
    key = "protected/project/7/npm/cache.zip"
    with keys(standins) as unprotected, keys(standins, is_protected=True) as protected:
        protected.put_object(Bucket=bucket, Key=key, Body=b"good")
        assert refused(unprotected.put_object, Bucket=bucket, Key=key, Body=b"bad")
        assert refused(protected.get_object, Bucket=bucket, Key=OWN)


def may_read_the_cache(standins: Standins, role: Role) -> bool:
    bucket, files = standins.stack.cache_bucket, role.client("s3")
    return not (
        refused(files.get_object, Bucket=bucket, Key=OWN)
        and refused(files.put_object, Bucket=bucket, Key=OWN, Body=b"x")
        and refused(files.list_objects_v2, Bucket=bucket)
        and refused(
            role.client("sts").assume_role,
            RoleArn=standins.stack.cache_role,
            RoleSessionName="mine",
        )
    )


@pytest.mark.parametrize("name", ROLES)
def test_no_other_function_and_no_lambda_runner_reaches_the_cache(
    standins: Standins, name: str
) -> None:
    assert not may_read_the_cache(standins, standins.role(name))


def test_a_machines_own_role_reaches_no_cache(standins: Standins) -> None:
    role = Role(standins.engine, standins.stack.machine_role, "i-0123456789abcdef0")
    assert not may_read_the_cache(standins, role)


def test_scale_has_no_right_in_the_bucket_itself(standins: Standins) -> None:
    files, bucket = standins.role("ScaleRole").client("s3"), standins.stack.cache_bucket
    assert refused(files.get_object, Bucket=bucket, Key=OWN)
    assert refused(files.list_objects_v2, Bucket=bucket)
