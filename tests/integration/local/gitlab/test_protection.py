"""Protected refs over REST, who gets their jobs, and what our own client makes of it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import gitlab
import pytest
from gitlab.exceptions import GitlabHttpError

from adapters.gitlab.call_allowance import OwnAllowance
from adapters.gitlab.client import GitLab
from fleet.machine.mailbox import Credential
from fleet.reasons import Reason
from local.gitlab.server import SimulatorServer
from orchestrator.reconcile import reconcile
from orchestrator.route import route_event
from orchestrator.scale import scale
from tests.fakes import FakeCipher
from tests.integration.local.gitlab.machine import Machine
from tests.integration.local.gitlab.site import Site
from tests.unit.orchestrator.scene import INSTANCE, Scene

CI = """
    workflow: {rules: [{when: always}]}
    unit: {script: "true", tags: [docker]}
"""


class Guarded:
    """A project in a group of its own, our client of it, and runners for protected refs only."""

    def __init__(self, site: Site, group: str) -> None:
        self.site = site
        self.group = group
        self.seeded = site.seed(CI, path=f"{group}/platform/demo")
        allowance = OwnAllowance(calls_per_minute=3000, clock=lambda: datetime.now(UTC))
        self.fleet = GitLab(site.server.url, site.server.root_token, allowance=allowance)
        self.project = site.project(self.seeded)

    def protect(self, kind: str, name: str) -> None:
        """Protect a branch, a tag, or a branch in the group above."""
        if kind == "group":
            path = f"/groups/{self.group}/protected_branches"
            self.site.client.http_post(path, post_data={"name": name})
        elif kind == "tag":
            self.project.protectedtags.create({"name": name})
        else:
            self.project.protectedbranches.create({"name": name})

    def refs(self) -> dict[str, str]:
        """The refs that the simulator knows, to be changed in place."""
        return self.site.server.ask(lambda world: world.accounts.projects[self.seeded.id].refs)

    def commit(self, name: str, *, is_tag: bool = False) -> None:
        """The project has this branch or tag."""
        self.refs()[f"refs/{'tags' if is_tag else 'heads'}/{name}"] = self.refs()["refs/heads/main"]

    def drain(self) -> None:
        """Nothing waits."""
        for pipeline in self.project.pipelines.list(get_all=True):
            pipeline.cancel()

    def gets(self) -> bool:
        """Whether a runner for protected refs gets the job that waits."""
        own = {"runner_type": "project_type", "project_id": self.seeded.id}
        token = self.site.register("docker", access_level="ref_protected", **own)
        with Machine(self.site.server.url, token) as machine:
            return bool(machine.ask().status_code == 201)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One simulator for all tests here."""
    with (
        SimulatorServer(tmp_path_factory.mktemp("gitlab")) as server,
        gitlab.Gitlab(server.url, private_token=server.root_token) as client,
    ):
        yield Site(server, client)


@pytest.fixture
def guarded(shared: Site) -> Iterator[Guarded]:
    number = shared.server.ask(lambda world: len(world.accounts.projects))
    made = Guarded(shared, f"group-{number}")
    yield made
    made.drain()


@pytest.mark.parametrize(
    ("rules", "ref", "is_tag", "expected"),
    [
        ([], "main", False, True),
        ([], "work", False, False),
        ([("branch", "release/*")], "release/2", False, True),
        ([("branch", "release/*")], "prerelease/2", False, False),
        ([("branch", "*-stable")], "v2.1-stable", False, True),
        ([("branch", "v2.1")], "v2x1", False, False),  # a point is no wildcard
        ([("group", "hotfix/*")], "hotfix/7", False, True),
        ([("tag", "v*")], "v1.0", True, True),
        ([("branch", "v*")], "v1.0", True, False),
        ([], "main", True, False),  # a tag of the default branch's name
    ],
)
def test_our_client_knows_who_gets_a_job(
    guarded: Guarded, *, rules: list[tuple[str, str]], ref: str, is_tag: bool, expected: bool
) -> None:
    guarded.drain()
    for kind, name in rules:
        guarded.protect(kind, name)
    if ref != "main" or is_tag:
        guarded.commit(ref, is_tag=is_tag)
    if ref == "main" and is_tag:  # the API would take the branch
        guarded.refs().pop("refs/heads/main")
    guarded.project.pipelines.create({"ref": ref})
    (job,) = guarded.fleet.pending_jobs(guarded.seeded.id)
    assert (job.ref, job.is_tag) == (ref, is_tag)
    assert guarded.fleet.is_protected(guarded.seeded.id, ref, is_tag=is_tag) is expected
    assert guarded.gets() == expected


@pytest.mark.parametrize(
    ("protected", "setting", "expected"),
    [(True, True, True), (True, False, False), (False, True, False)],
)
def test_a_merge_request_is_as_safe_as_its_branches(
    guarded: Guarded, *, protected: bool, setting: bool, expected: bool
) -> None:
    guarded.drain()
    guarded.site.push(guarded.seeded, CI, branch="release/2")
    guarded.drain()
    if protected:
        guarded.protect("branch", "release/*")
    change = {"protect_merge_request_pipelines": setting}
    guarded.site.client.http_put(f"/projects/{guarded.seeded.id}", post_data=change)
    guarded.project.mergerequests.create(
        {"source_branch": "release/2", "target_branch": "main", "title": "Release"}
    )
    (job,) = guarded.fleet.pending_jobs(guarded.seeded.id)
    assert job.ref == "refs/merge-requests/1/head"
    assert guarded.fleet.is_protected(guarded.seeded.id, job.ref, is_tag=False) is expected
    assert guarded.gets() == expected


def test_what_waits_stays_as_it_was_made(guarded: Guarded) -> None:
    guarded.project.protectedbranches.delete("main")
    assert not guarded.project.branches.get("main").protected
    assert guarded.gets()
    guarded.project.pipelines.create({"ref": "main"})
    guarded.protect("branch", "main")
    assert not guarded.gets()


def test_rules_and_refs_are_listed(guarded: Guarded) -> None:
    guarded.commit("release/2")
    guarded.commit("v1", is_tag=True)
    for kind, name in (("branch", "release/*"), ("tag", "v*"), ("group", "hotfix/*")):
        guarded.protect(kind, name)
    project = guarded.project
    rules = {item.name: item.inherited for item in project.protectedbranches.list(get_all=True)}
    assert rules == {"hotfix/*": True, "main": False, "release/*": False}
    branches = {item.name: item.protected for item in project.branches.list(get_all=True)}
    assert branches == {"main": True, "release/2": True}
    assert [(item.name, item.protected) for item in project.tags.list(get_all=True)] == [
        ("v1", True)
    ]
    assert [item.name for item in project.protectedtags.list(get_all=True)] == ["v*"]
    project.protectedbranches.delete("release/*")
    project.protectedtags.delete("v*")
    assert not project.branches.get("release/2").protected
    assert not project.tags.get("v1").protected


def test_an_unknown_address_is_a_404_and_a_rule_is_made_once(guarded: Guarded) -> None:
    for verb, path, status in (
        *(("get", f"{path}/none", 404) for path in ("repository/branches", "protected_branches")),
        *(("delete", f"protected_{kind}/none", 404) for kind in ("branches", "tags")),
        ("get", "repository/tags/main", 404),
        ("post", "protected_branches", 409),
    ):
        address, body = f"/projects/{guarded.seeded.id}/{path}", {"name": "main"}
        with pytest.raises(GitlabHttpError) as refused:
            guarded.site.client.http_request(verb, address, post_data=body)
        assert refused.value.response_code == status, address


POOLS = """
[gitlab]
url = "http://gitlab.example.com"
runners_in = "instance"

[pools.safe]
backend = "tests"
tags = ["docker", "deploy"]
ceiling = 5
protected_only = true

[pools.open]
backend = "tests"
tags = ["docker"]
ceiling = 5
"""


@pytest.mark.parametrize(
    ("how", "ref", "tags", "pool", "reason"),
    [
        ("webhook", "main", "docker", "safe", Reason.ROUTED),
        ("reconcile", "release/2", "docker", "safe", Reason.ROUTED),
        ("webhook", "work", "docker", "open", Reason.ROUTED),
        ("reconcile", "work", "docker", "open", Reason.ROUTED),
        ("webhook", "work", "deploy", None, Reason.UNPROTECTED),
        ("reconcile", "work", "deploy", None, Reason.UNPROTECTED),
        ("webhook", "main", "deploy", "safe", Reason.ROUTED),
    ],
)
def test_a_job_is_run_by_the_first_pool_that_gitlab_lets_it_use(
    guarded: Guarded, *, how: str, ref: str, tags: str, pool: str | None, reason: Reason
) -> None:
    guarded.drain()
    guarded.protect("branch", "release/*")
    guarded.site.push(guarded.seeded, CI.replace("docker", tags), branch=ref)
    (job,) = guarded.fleet.pending_jobs(guarded.seeded.id)
    scene = Scene(text=POOLS)
    world = replace(scene.world, gitlab=guarded.fleet)
    facts = {"project_id": guarded.seeded.id, "pipeline_id": job.pipeline_id}
    if how == "webhook":
        route_event(world, scene.event(job.id, "pending", **facts))
    else:
        path = f"{guarded.group}/platform/demo"
        world.fleet.watch(INSTANCE, guarded.seeded.id, path, at=scene.clock())
        reconcile(world, lambda: 50.0)
    assert (scene.job(job.id).pool, scene.job(job.id).reason) == (pool, reason)
    scale(world)
    credentials = [
        Credential.of_item(item, FakeCipher())
        for (_, kind), item in scene.table.mail.items.items()
        if kind == "credential"
    ]
    assert [credential.pool for credential in credentials] == ([pool] if pool else [])
    for credential in credentials:
        with Machine(guarded.site.server.url, credential.token) as machine:
            assert machine.take()["id"] == job.id
