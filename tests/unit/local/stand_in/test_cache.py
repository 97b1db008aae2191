"""Caches in a folder and in a store."""

from __future__ import annotations

import io
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from local.stand_in.cache import Caches, S3Store, StoreError, object_prefix, open_store, s3_client
from local.stand_in.job import Cache, Variable
from local.stand_in.options import CacheOptions, RunnerOptions, S3Options, UsageError
from local.stand_in.variables import Places, Variables


class Memory:
    """A store that keeps everything, or nothing when it is broken."""

    def __init__(self, *, is_broken: bool = False) -> None:
        self.kept: dict[str, bytes] = {}
        self.is_broken = is_broken

    def fetch(self, key: str, path: str) -> bool:
        if self.is_broken:
            raise StoreError("no connection")
        if key in self.kept:
            Path(path).write_bytes(self.kept[key])
        return key in self.kept

    def keep(self, key: str, path: str) -> None:
        if self.is_broken:
            raise StoreError("no connection")
        self.kept[key] = Path(path).read_bytes()


class Machine:
    """A project's folder and a cache folder on one machine, sharing a store with others."""

    def __init__(self, root: Path, store: Memory | None, **variables: str) -> None:
        self.project = root / "project"
        self.project.mkdir(parents=True)
        self.said: list[str] = []
        given = [Variable(key=key, value=value) for key, value in variables.items()]
        self.caches = Caches(
            store,
            Places(
                builds=str(root),
                project=str(self.project),
                temporary=str(root / "tmp"),
                cache=str(root / "cache"),
            ),
            Variables(given, folder_of_files="/t"),
            say=self.said.append,
        )

    def has_said(self, text: str) -> bool:
        return any(text in line for line in self.said)


def cache(key: str = "k", policy: str = "", **changes: Any) -> Cache:
    usual = {"paths": ("kept",), "untracked": False, "when": "", "fallback_keys": ()}
    return Cache(key=key, policy=policy, **{**usual, **changes})


def fill(machine: Machine, content: str = "x") -> None:
    (machine.project / "kept").mkdir(exist_ok=True)
    (machine.project / "kept" / "f").write_text(content)


@pytest.fixture
def store() -> Memory:
    return Memory()


def test_a_store_carries_a_cache_to_another_machine(tmp_path: Path, store: Memory) -> None:
    first = Machine(tmp_path / "1", store, BRANCH="main")
    fill(first, "carried")
    first.caches.save(cache("k-$BRANCH"))
    assert list(store.kept) == ["k-main"]
    second = Machine(tmp_path / "2", store, BRANCH="main")
    second.caches.restore(cache("k-$BRANCH"))
    assert (second.project / "kept" / "f").read_text() == "carried"
    assert second.has_said("Successfully extracted cache")


def test_without_a_store_it_stays_on_the_machine(tmp_path: Path) -> None:
    machine = Machine(tmp_path, None)
    fill(machine)
    machine.caches.save(cache())
    assert machine.has_said("Cache will be stored only locally")
    (machine.project / "kept" / "f").unlink()
    machine.caches.restore(cache())
    assert (machine.project / "kept" / "f").exists()


def test_fallback_keys_are_tried_in_order_and_the_variable_last(
    tmp_path: Path, store: Memory
) -> None:
    machine = Machine(tmp_path / "1", store, CACHE_FALLBACK_KEY="last")
    fill(machine, "fallback")
    machine.caches.save(cache("last"))
    other = Machine(tmp_path / "2", store, CACHE_FALLBACK_KEY="last")
    other.caches.restore(cache("k", fallback_keys=("one", "two")))
    tried = [line.split()[3] for line in other.said if "Checking cache" in line]
    assert tried == ["k...", "one...", "two...", "last..."]
    assert (other.project / "kept" / "f").read_text() == "fallback"


@pytest.mark.parametrize(
    ("policy", "saves", "restores"),
    [("", True, True), ("pull-push", True, True), ("push", True, False), ("$P", False, True)],
)
def test_policies(policy: str, saves: bool, restores: bool, tmp_path: Path, store: Memory) -> None:
    machine = Machine(tmp_path, store, P="pull")
    fill(machine)
    machine.caches.save(cache(policy=policy))
    assert ("k" in store.kept) is saves
    machine.caches.restore(cache(policy=policy))
    assert machine.has_said("Not downloading cache k due to policy") is not restores


@pytest.mark.parametrize("key", ["../other/secret", "", "$MISSING"])
def test_a_key_that_leads_elsewhere_is_no_key(key: str, tmp_path: Path, store: Memory) -> None:
    machine = Machine(tmp_path, store)
    machine.caches.save(cache(key))
    machine.caches.restore(cache(key))
    assert store.kept == {}
    assert machine.has_said("Failed to create cache")
    assert machine.has_said("Failed to extract cache")


def test_a_broken_store_or_archive_is_never_a_failure(tmp_path: Path, store: Memory) -> None:
    machine = Machine(tmp_path / "1", Memory(is_broken=True))
    machine.caches.restore(cache())
    machine.caches.save(cache())
    assert machine.has_said("WARNING: no connection")
    store.kept["k"] = b"no archive"
    other = Machine(tmp_path / "2", store)
    other.caches.restore(cache())
    assert other.has_said("Failed to extract cache")


def test_paths_that_match_nothing_are_mentioned(tmp_path: Path, store: Memory) -> None:
    machine = Machine(tmp_path, store)
    machine.caches.save(cache(paths=("nothing",)))
    assert machine.has_said("nothing: no matching files")


class Bucket:
    """The part of an S3 client that is used."""

    def __init__(self, error: Exception | None = None) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}
        self.error = error

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        self._fail()
        if (Bucket, Key) not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        content = io.BytesIO(self.objects[Bucket, Key])

        class Body:
            @staticmethod
            def iter_chunks(size: int) -> Any:
                return iter(lambda: content.read(size), b"")

        return {"Body": Body}

    def put_object(self, *, Bucket: str, Key: str, Body: Any) -> None:  # noqa: N803
        self._fail()
        self.objects[Bucket, Key] = Body.read()

    def _fail(self) -> None:
        if self.error:
            raise self.error


def test_objects_are_named_after_project_and_key(tmp_path: Path) -> None:
    bucket = Bucket()
    store = S3Store(bucket, "b", "project/7")
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"content")
    store.keep("k-main", str(source))
    assert list(bucket.objects) == [("b", "project/7/k-main")]
    assert store.fetch("k-main", str(target))
    assert target.read_bytes() == b"content"
    assert not store.fetch("other", str(target))


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDenied"}}, "x"),
        EndpointConnectionError(endpoint_url="http://x"),
    ],
)
def test_trouble_with_the_store_has_one_name(error: Exception, tmp_path: Path) -> None:
    store = S3Store(Bucket(error), "b", "p")
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(StoreError):
        store.fetch("k", str(tmp_path / "g"))
    with pytest.raises(StoreError):
        store.keep("k", str(tmp_path / "f"))


def test_no_type_is_no_store_and_an_unknown_one_is_named() -> None:
    assert open_store(RunnerOptions(), 7) is None
    with pytest.raises(UsageError, match="'gcs' is not supported"):
        open_store(RunnerOptions(cache=CacheOptions(type="gcs")), 7)


@pytest.mark.parametrize(
    ("shared", "path", "prefix"),
    [
        (False, "", "runner/abcdefghi/project/7"),
        (True, "", "project/7"),
        (True, "/pre/", "pre/project/7"),
        (False, "pre", "pre/runner/abcdefghi/project/7"),
    ],
)
def test_the_names_are_those_of_the_real_runner(shared: bool, path: str, prefix: str) -> None:
    runner = RunnerOptions(token="glrt-abcdefghijk", cache=CacheOptions(shared=shared, path=path))
    assert object_prefix(runner, 7) == prefix


def test_a_local_cache_says_that_it_is_local(tmp_path: Path) -> None:
    machine = Machine(tmp_path, None)
    fill(machine)
    machine.caches.save(cache())
    machine.caches.restore(cache())
    assert machine.has_said("cache will not be uploaded to shared cache server")
    assert machine.has_said("cache will not be downloaded from shared cache server")


def test_untracked_files_are_kept_when_they_are_wanted(tmp_path: Path, store: Memory) -> None:
    machine = Machine(tmp_path, store)
    subprocess.run(["git", "init", "-q", str(machine.project)], check=True)
    (machine.project / "left").write_text("x")
    for wanted in (False, True):
        machine.caches.save(cache(paths=(), untracked=wanted))
        with zipfile.ZipFile(io.BytesIO(store.kept["k"])) as archive:
            assert archive.namelist() == (["left"] if wanted else [])


def test_a_key_loses_blanks_and_slashes_at_its_end(tmp_path: Path, store: Memory) -> None:
    machine = Machine(tmp_path, store)
    fill(machine)
    machine.caches.save(cache("a/b \\ /"))
    assert list(store.kept) == ["a/b"]


def test_what_went_wrong_is_said_and_how_much_was_found(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Memory(is_broken=True))
    fill(machine)
    machine.caches.restore(cache())
    machine.caches.save(cache())
    plain = [line.replace("\033[0;33m", "").replace("\033[32;1m", "") for line in machine.said]
    assert plain == [
        "Checking cache for k...",
        "WARNING: no connection",
        "Failed to extract cache",
        "Creating cache k...",
        "kept: found 2 matching artifact files and directories",
        "WARNING: no connection",
        "Failed to create cache",
    ]


@contextmanager
def opened(s3: S3Options) -> Iterator[Any]:
    """A client for the bucket, with keys."""
    made = s3_client(CacheOptions(type="s3", s3=replace(s3, access_key="AK", secret_key="SK")))
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize(
    ("s3", "endpoint", "addressing"),
    [
        (S3Options(bucket_location="eu-west-1"), "https://s3.eu-west-1.amazonaws.com", "auto"),
        (S3Options(server_address="h:9"), "https://h:9", "path"),
        (S3Options(server_address="h:9", insecure=True), "http://h:9", "path"),
        (S3Options(server_address="h:9", path_style=False), "https://h:9", "auto"),
    ],
)
def test_where_the_bucket_is_asked_for(s3: S3Options, endpoint: str, addressing: str) -> None:
    with opened(replace(s3, bucket_location=s3.bucket_location or "us-east-1")) as client:
        assert client.meta.endpoint_url == endpoint
        assert client.meta.config.s3 == {"addressing_style": addressing}


@pytest.mark.parametrize("session", ["", "ST"])
def test_keys_that_are_set_sign_the_question(session: str) -> None:
    with opened(S3Options(bucket_location="eu-west-1", session_token=session)) as client:
        url = client.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
    query = {name.lower(): value for name, (value,) in parse_qs(urlsplit(url).query).items()}
    whose = query.get("awsaccesskeyid") or query["x-amz-credential"]
    assert whose.split("/")[0] == "AK"
    assert query.get("x-amz-security-token", "") == session
