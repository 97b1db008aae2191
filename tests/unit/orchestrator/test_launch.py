"""What a launch asks of GitLab and leaves for the machine, for each way to write a pool."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.aws.cache_keys import CacheScope
from fleet.errors import FleetError, Refused, Transient
from fleet.machine.mailbox import CacheBucket
from tests.unit.orchestrator.scene import AT, FLEET, Scene


def wanted(scene: Scene) -> Any:
    """The one runner record that was asked for."""
    (record,) = scene.gitlab.wanted.values()
    return record


def launched(text: str) -> Scene:
    scene = Scene(text=text)
    scene.launched(1)
    return scene


@pytest.mark.parametrize(
    ("keys", "fields"),
    [
        ("", {"kind": "group_type", "owner_id": 42, "run_untagged": False, "locked": False}),
        ("run_untagged = true\n", {"run_untagged": True}),
        ("protected_only = true\n", {"protected_only": True}),
        ('max_job_time = "20m"\n', {"maximum_timeout_s": 1200}),
        ('max_job_time = "10m"\n', {"maximum_timeout_s": 600}),
    ],
)
def test_the_record_says_what_the_pool_says(keys: str, fields: dict[str, Any]) -> None:
    record = wanted(launched(FLEET + keys))
    assert {name: getattr(record, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("place", "kind", "owner", "locked"),
    [
        ("instance", "instance_type", None, False),
        ("project:9", "project_type", 9, True),
        ("project", "project_type", 7, True),
    ],
)
def test_records_are_made_where_the_configuration_says(
    place: str, kind: str, owner: int | None, locked: bool
) -> None:
    record = wanted(launched(FLEET.replace("group:42", place)))
    assert (record.kind, record.owner_id, record.locked) == (kind, owner, locked)


class CacheDesk:
    """Hands out keys that name what they are for."""

    def __init__(self) -> None:
        self.scopes: list[CacheScope] = []
        self.failing: FleetError | None = None

    def __call__(self, scope: CacheScope) -> CacheBucket:
        self.scopes.append(scope)
        if self.failing is not None:
            raise self.failing
        return CacheBucket(
            bucket="fleet-cache",
            region="eu-west-1",
            prefix=scope.prefix,
            access_key=f"for-{scope.project_id}",
            secret_key="s",
            session_token="t",
            keys_end_at=AT + scope.lasts,
        )


def with_cache(text: str, *, failing: FleetError | None = None) -> tuple[Scene, CacheDesk]:
    """A scene that has launched for job 1, of project 7, and its cache's keys."""
    scene, desk = Scene(text=text), CacheDesk()
    desk.failing = failing
    scene.world = replace(scene.world, cache=desk)
    scene.launched(1)
    return scene, desk


@pytest.mark.parametrize(("place", "project"), [("project", 7), ("project:9", 9)])
@pytest.mark.parametrize(
    ("keys", "prefix"), [("", "open"), ("protected_only = true\n", "protected")]
)
def test_a_runner_of_one_project_gets_keys_of_its_cache(
    place: str, project: int, keys: str, prefix: str
) -> None:
    scene, desk = with_cache(FLEET.replace("group:42", place) + keys)
    (scope,) = desk.scopes
    assert (scope.project_id, scope.prefix) == (project, prefix)
    assert scope.session == scene.only_runner.id
    assert scope.lasts == timedelta(minutes=5 + 2 + 165)
    cache = scene.credential.cache
    assert cache is not None
    assert (cache.access_key, cache.prefix) == (f"for-{project}", prefix)


@pytest.mark.parametrize("place", ["group:42", "instance"])
def test_a_runner_that_may_get_any_projects_job_gets_no_keys(place: str) -> None:
    scene, desk = with_cache(FLEET.replace("group:42", place))
    assert (desk.scopes, scene.credential.cache) == ([], None)


@pytest.mark.parametrize("failing", [Transient(), Refused()])
def test_a_job_runs_without_a_cache_where_aws_gives_no_keys(failing: FleetError) -> None:
    scene, _ = with_cache(FLEET.replace("group:42", "project"), failing=failing)
    assert scene.credential.cache is None
    assert scene.only_runner.equipped


def test_the_credential_says_how_gitlab_is_reached() -> None:
    scene = Scene(FLEET.replace('"group:42"', '"group:42"\nproxy = "http://proxy:3128"'))
    scene.world = replace(scene.world, tls_ca="-----BEGIN CERTIFICATE-----")
    scene.launched(1)
    credential = scene.credential
    assert (credential.proxy, credential.tls_ca) == (
        "http://proxy:3128",
        "-----BEGIN CERTIFICATE-----",
    )
    bare = launched(FLEET).credential
    assert (bare.proxy, bare.tls_ca) == (None, None)


def test_the_credential_says_how_to_run_the_one_job() -> None:
    keys = 'max_lifetime = "1h"\nwait_timeout = "90s"\nenv = { HTTP_PROXY = "http://p:3128" }\n'
    docker = 'docker = { image = "debian:13", privileged = true, pull_policy = "always" }\n'
    scene = launched(FLEET + keys + docker)
    credential = scene.credential
    runner = scene.only_runner
    assert (credential.runner_id, credential.name, credential.pool) == (
        runner.id,
        runner.id,
        "docker",
    )
    assert credential.url == "https://gitlab.example.com"
    assert (credential.wait_timeout_s, credential.executor) == (90, "docker")
    assert (credential.expires_at - AT).total_seconds() == 3600
    assert credential.docker is not None
    assert (credential.docker.image, credential.docker.privileged) == ("debian:13", True)
    assert credential.docker.pull_policy == ("always",)
    assert credential.env == {"HTTP_PROXY": "http://p:3128"}
    shell = launched(FLEET + 'executor = "shell"\n').credential
    assert (shell.executor, shell.docker) == ("shell", None)


def test_the_order_and_the_rows_carry_one_launch_and_one_expiry() -> None:
    scene = Scene(text=FLEET + 'max_lifetime = "2h"\nboot_deadline = "2m"\n')
    runners = scene.launched(1, 2)
    (order,) = scene.backend.orders
    assert {runner.launch_id for runner in runners} == {order.launch_id}
    assert {runner.expires_at for runner in runners} == {order.expires_at}
    assert (order.expires_at - AT).total_seconds() == 7200
    assert order.call_home_by - AT == timedelta(minutes=2)
    assert set(order.runner_ids) == {runner.id for runner in runners}
    assert all(runner.works_for == 7 for runner in runners)


def test_more_machines_than_a_transaction_takes_are_reserved_in_parts() -> None:
    scene = Scene(text=FLEET.replace("ceiling = 5", "ceiling = 150"))
    scene.waits(*range(1, 151))
    first = scene.scale()
    assert (first.launched, first.again_in_s) == (100, 1)
    assert scene.scale().launched == 50
    scene.clock.go(30)  # what the first round gave back is visible again
    assert scene.scale().launched == 0
    assert scene.queue.depth() == 0
    scene.books_balance()
