"""The cache of real jobs with the keys that scale hands out."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from adapters.aws.cache_keys import CacheKeys, CacheScope
from fleet.machine.mailbox import CacheBucket
from tests.integration.adapters.test_with_runners import BINARIES, Machine, log
from tests.integration.conftest import Standins
from tests.integration.local.coordinator import Coordinator, make_job

CACHE = [{"key": "k", "paths": ["kept"], "policy": "pull-push"}]
SAVES, READS = "mkdir -p kept; echo cached > kept/f; env", "cat kept/f || echo nothing kept"


@pytest.fixture
def gitlab() -> Iterator[Coordinator]:
    """A GitLab whose jobs are all of project 7."""
    with Coordinator() as running:
        yield running


def bucket(standins: Standins, project_id: int) -> CacheBucket:
    """What scale hands out to a runner of this project."""
    keys = CacheKeys(
        standins.role("ScaleRole").client("sts"),
        bucket=standins.stack.cache_bucket,
        role=standins.stack.cache_role,
        environment={"AWS_ENDPOINT_URL": standins.engine.url},
    )
    scope = CacheScope(
        project_id=project_id,
        is_protected=False,
        session=f"rf-{project_id}",
        lasts=timedelta(minutes=15),
    )
    return keys.of(scope)


def runs(machine: Machine, cache: CacheBucket) -> str | None:
    """The outcome of the next job on a machine with this cache."""
    machine.credential = replace(machine.credential, cache=cache)
    return machine.run().outcome


@pytest.mark.parametrize("binary", BINARIES)
def test_a_cache_reaches_the_projects_next_machine_and_its_keys_no_job(
    binary: str, gitlab: Coordinator, standins: Standins, tmp_path: Path
) -> None:
    cache = bucket(standins, 7)
    gitlab.offer(make_job(1, SAVES, cache=CACHE))
    gitlab.offer(make_job(2, READS, cache=CACHE))
    assert runs(Machine(binary, gitlab, tmp_path / "first"), cache) == "succeeded"
    assert runs(Machine(binary, gitlab, tmp_path / "second"), cache) == "succeeded"
    assert "cached\n" in log(gitlab, 2)
    for secret in (cache.access_key, cache.secret_key, cache.session_token, "aws-secret"):
        assert secret not in log(gitlab, 1)
    shown = standins.engine.client("s3").list_objects_v2(Bucket=cache.bucket)["Contents"]
    assert "open/project/7/k" in {entry["Key"] for entry in shown}
    assert "this job can save its cache until" in log(gitlab, 1)


@pytest.mark.parametrize("binary", BINARIES)
@pytest.mark.parametrize("kind", ["another project's", "ended"])
def test_a_job_whose_keys_open_nothing_goes_on_without_its_cache(
    binary: str, kind: str, gitlab: Coordinator, standins: Standins, tmp_path: Path
) -> None:
    cache = bucket(standins, 8)
    if kind == "ended":
        cache = replace(cache, session_token="no longer known")
    gitlab.offer(make_job(1, SAVES, cache=CACHE))
    gitlab.offer(make_job(2, READS, cache=CACHE))
    root = standins.engine.client("s3")
    root.delete_object(Bucket=cache.bucket, Key="open/project/7/k")
    assert runs(Machine(binary, gitlab, tmp_path / "first"), cache) == "succeeded"
    assert runs(Machine(binary, gitlab, tmp_path / "second"), cache) == "succeeded"
    assert "Failed to create cache" in log(gitlab, 1)
    assert "nothing kept" in log(gitlab, 2)
    shown = root.list_objects_v2(Bucket=cache.bucket).get("Contents", [])
    assert "open/project/7/k" not in {entry["Key"] for entry in shown}
