"""`apply`: what it makes, changes and deletes, and that a second time changes nothing."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.gitlab.values import CreatedRunner, GitLabJob, GitLabProject, NewRunner
from adapters.ledger.configuration import StoredConfig
from adapters.ledger.fleet import FleetRows
from adapters.ledger.runners import Placement, RunnerRows
from fleet.config.reading import ConfigError
from fleet.errors import Refused
from fleet.holds import Hold, HoldKind
from fleet.model import Runner, RunnerState
from fleet.rules.capacity import BackOff
from operations.apply import Applied, apply_config
from operations.pool_records import NO_PROJECT
from tests.fakes import AT, FakeGitLab, FakeSecrets, FakeTable, runner_rows

GITLAB = '[gitlab]\nurl = "https://gitlab.example.com"\nrunners_in = "group:42"\n'
DOCKER = """
[pools.docker]
backend = "ec2"
tags = ["ec2", "docker"]
instance_types = ["m7i.large", "m7a.large"]
ceiling = 5
"""
NODE = '\n[pools.node]\nbackend = "lambda"\ntags = ["node"]\nceiling = 9\nmax_job_time = "11m"\n'
BOTH = GITLAB + DOCKER + NODE


@dataclass
class Stack:
    """One deployed fleet that texts are applied to."""

    table: FakeTable = field(default_factory=FakeTable)
    secrets: FakeSecrets = field(default_factory=FakeSecrets)
    gitlab: FakeGitLab = field(default_factory=FakeGitLab)

    @property
    def fleet(self) -> FleetRows:
        return FleetRows(self.table)

    @property
    def runners(self) -> RunnerRows:
        return runner_rows(self.table, "gitlab.example.com")

    def apply(self, text: str, *, minutes: int = 0) -> Applied:
        return apply_config(
            text,
            fleet=self.fleet,
            runners=self.runners,
            secrets=self.secrets,
            gitlab=self.gitlab,
            pool_secret_prefix="fleet/pool/",
            at=AT + timedelta(minutes=minutes),
        )

    def stored(self) -> StoredConfig:
        stored = self.fleet.config()
        assert stored is not None
        return stored

    def record(self, pool: str) -> int:
        """The number of the pool's runner record."""
        return self.secrets.pools[f"fleet/pool/open/{pool}"].runner_id

    def launch(self, pool: str) -> Runner:
        """A runner of this pool lives on a machine."""
        runner = Runner(
            id=f"rf-{pool}-0123456789ab",
            pool=pool,
            backend="lambda",
            state=RunnerState.REQUESTED,
            launched_at=AT,
            expires_at=AT + timedelta(hours=1),
            launch_id="l",
        )
        assert self.runners.reserve([runner], ceiling=9, version=0)
        place = Placement(runner_id=runner.id, machine_id="m", mailbox="box", capacity="lambda")
        self.runners.note_placed([place])
        return runner


def test_the_first_time_every_pool_gets_a_record_a_secret_and_its_settings() -> None:
    stack = Stack()
    applied = stack.apply(BOTH)
    assert applied.added == applied.records_made == ("docker", "node")
    assert applied.is_change
    assert not applied.gitlab_changed
    docker = stack.gitlab.wanted[stack.record("docker")]
    assert (docker.kind, docker.owner_id) == ("group_type", 42)
    assert (docker.description, docker.tags) == ("fleet pool docker", ("ec2", "docker"))
    assert not docker.run_untagged
    node = stack.secrets.pools["fleet/pool/open/node"]
    assert node.token == f"glrt-{node.runner_id}"
    assert stack.gitlab.wanted[node.runner_id].maximum_timeout_s == 660
    assert not applied.is_rewritten
    stored = stack.stored()
    assert (stored.text, stored.version, stored.applied_at) == (BOTH, applied.version, AT)


def test_doing_it_again_changes_nothing() -> None:
    stack = Stack()
    stack.apply(BOTH)
    before, writes = dict(stack.secrets.pools), stack.table.writes
    again = stack.apply(BOTH, minutes=5)
    assert not again.is_change
    assert stack.secrets.pools == before
    assert stack.table.writes == writes + 1  # when it ran: the next ticks look again from then on
    assert stack.stored().applied_at == AT + timedelta(minutes=5)
    assert stack.gitlab.calls.count("create_runner") == 2
    assert "update_runner" not in stack.gitlab.calls


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ('tags = ["node"]', 'tags = ["node", "js"]', {"tags": ("node", "js")}),
        ('max_job_time = "11m"', 'max_job_time = "12m"', {"maximum_timeout_s": 720}),
        ("ceiling = 9", "ceiling = 9\nrun_untagged = true", {"run_untagged": True}),
        ("ceiling = 9", "ceiling = 8", {}),
    ],
)
def test_a_changed_pool_changes_its_record_where_gitlab_cares(
    old: str, new: str, changes: dict[str, object]
) -> None:
    stack = Stack()
    stack.apply(BOTH)
    applied = stack.apply(BOTH.replace(old, new), minutes=5)
    assert applied.changed == ("node",)
    assert applied.records_updated == (("node",) if changes else ())
    record = stack.gitlab.wanted[stack.record("node")]
    assert {name: getattr(record, name) for name in changes} == changes


@pytest.mark.parametrize("place", ["group:43", "instance"])
@pytest.mark.parametrize("is_busy", [False, True])
def test_another_place_for_runners_means_new_records(place: str, is_busy: bool) -> None:
    stack = Stack()
    stack.apply(GITLAB + NODE)
    old = stack.record("node")
    if is_busy:
        stack.gitlab.add(
            GitLabJob(id=1, project_id=7, name="unit", status="running", runner_id=old)
        )
    applied = stack.apply((GITLAB + NODE).replace("group:42", place))
    assert (applied.gitlab_changed, applied.records_made) == (True, ("node",))
    assert stack.gitlab.records[stack.record("node")].group_ids == (
        (43,) if place == "group:43" else ()
    )
    assert (old in stack.gitlab.records) is is_busy


def test_a_record_of_another_owner_with_the_stored_number_is_left_alone() -> None:
    """As after a move to another GitLab: the stored number is another runner there."""
    stack = Stack()
    stack.apply(GITLAB + NODE)
    number = stack.record("node")
    theirs = NewRunner(kind="group_type", description="theirs", tags=("x",))
    stack.gitlab.update_runner(number, theirs)
    stack.apply(GITLAB + NODE)
    assert stack.gitlab.records[number].description == "theirs"
    assert stack.record("node") != number


@pytest.mark.parametrize(
    ("record", "deleted"),
    [
        ("its own", ("docker",)),
        ("another runner's", ("docker",)),
        ("gone", ("docker",)),
        ("never made", ()),
    ],
)
def test_a_removed_pool_loses_its_record_and_its_secret(
    record: str, deleted: tuple[str, ...]
) -> None:
    stack = Stack()
    stack.apply(BOTH)
    number = stack.record("docker")
    if record == "another runner's":  # after a move to another GitLab
        theirs = NewRunner(kind="group_type", description="theirs", tags=("x",))
        stack.gitlab.update_runner(number, theirs)
    elif record == "gone":
        stack.gitlab.delete_runner(number)
    elif record == "never made":
        stack.secrets.pools.pop("fleet/pool/open/docker")
    applied = stack.apply(GITLAB + NODE)
    assert (applied.removed, applied.records_deleted) == (("docker",), deleted)
    assert set(stack.secrets.pools) == {"fleet/pool/open/node"}
    assert (number in stack.gitlab.records) is (record in {"another runner's", "never made"})


def test_a_removed_pool_with_runners_keeps_its_record_until_they_are_gone() -> None:
    stack = Stack()
    stack.apply(BOTH)
    runner = stack.launch("docker")
    applied = stack.apply(GITLAB + NODE, minutes=1)
    assert (applied.removed, applied.leaving) == (("docker",), ("docker",))
    order, writes = stack.table.mail.get("box", "order"), stack.table.writes
    assert order is not None
    assert "fleet/pool/open/docker" in stack.secrets.pools
    assert stack.apply(GITLAB + NODE, minutes=2).leaving == ("docker",)
    assert stack.table.mail.get("box", "order") == order  # it is ordered once
    assert stack.table.writes == writes + 1  # when `apply` ran
    living = stack.runners.find(runner.id)
    assert living is not None
    assert living.state is RunnerState.DRAINING
    stack.table.items.pop(("pool#docker", f"runner#{runner.id}"))
    last = stack.apply(GITLAB + NODE, minutes=3)
    assert (last.leaving, last.records_deleted) == ((), ("docker",))
    assert not stack.apply(GITLAB + NODE, minutes=4).is_change


def test_a_removed_pool_is_remembered_for_the_jobs_that_wait_there() -> None:
    stack = Stack()
    stack.apply(BOTH)

    assert stack.stored().removed == {}
    stack.apply(GITLAB + NODE, minutes=1)
    stack.apply(GITLAB + NODE, minutes=2)
    assert stack.stored().removed == {"docker": AT + timedelta(minutes=1)}
    stack.apply(BOTH, minutes=3)
    assert stack.stored().removed == {}
    stack.apply(GITLAB + NODE, minutes=4)
    stack.apply(GITLAB + NODE, minutes=5 + 7 * 24 * 60)
    assert stack.stored().removed == {}


def test_a_pool_that_comes_back_while_it_leaves_stays() -> None:
    stack = Stack()
    stack.apply(BOTH)
    stack.launch("docker")
    stack.apply(GITLAB + NODE)
    applied = stack.apply(BOTH)
    assert (applied.added, applied.leaving, applied.records_deleted) == (("docker",), (), ())
    assert "fleet/pool/open/docker" in stack.secrets.pools


def test_aws_and_gitlab_are_asked_again_for_what_they_refused() -> None:
    stack = Stack()
    version = stack.apply(BOTH).version
    held = {
        "a": BackOff(until=AT + timedelta(hours=1), failures=1, code="InvalidAMIID.NotFound"),
        "b": BackOff(
            until=AT + timedelta(hours=1), failures=1, code="InsufficientInstanceCapacity"
        ),
    }
    stack.fleet.note_refused("docker", "no such image", version)
    stack.fleet.note_back_off("docker", held)
    stack.fleet.note_hold(
        Hold(kind=HoldKind.REFUSAL, since=AT, ask_at=AT, words="401 no", status=401)
    )
    stack.apply(BOTH)
    assert stack.fleet.holds() == ()
    row = stack.fleet.pool("docker")
    assert row.refused is None
    assert set(row.back_off or {}) == {"b"}


def test_a_runner_of_each_project_shows_in_the_first_watched_one() -> None:
    stack = Stack()
    for number in (77, 78):
        stack.gitlab.add_project(GitLabProject(id=number, path=f"acme/p{number}"))
    text = GITLAB.replace("group:42", "project") + NODE
    watch = 'watch = { projects = ["acme/p77", "acme/p78"] }\n'
    assert stack.apply(text).notes == (NO_PROJECT,)
    assert stack.secrets.pools == {}
    text = GITLAB.replace("group:42", "project") + watch + NODE
    assert stack.apply(text).notes == ()
    record = stack.gitlab.wanted[stack.record("node")]
    assert (record.kind, record.owner_id, record.locked) == ("project_type", 77, True)


def test_a_text_that_cannot_be_applied_touches_nothing() -> None:
    stack = Stack()
    with pytest.raises(ConfigError, match=r"fleet\.toml line 6"):
        stack.apply(BOTH.replace('"ec2"\ntags', '"k8s"\ntags'))
    assert stack.table.items == {}
    assert stack.gitlab.calls == []


# Again, by halves, and after changes by a person


class Halting(FakeGitLab):
    """A GitLab that makes this many runner records and then refuses."""

    def __init__(self, makes: int) -> None:
        super().__init__()
        self.makes = makes

    def create_runner(self, new: NewRunner) -> CreatedRunner:
        """A runner record, while there may be more."""
        if self.makes == 0:
            raise Refused("GitLab does not accept this request", status=400)
        self.makes -= 1
        return super().create_runner(new)


def test_what_was_made_before_a_failure_is_kept() -> None:
    halting = Halting(makes=1)
    stack = Stack(gitlab=halting)
    with pytest.raises(Refused):
        stack.apply(BOTH)
    before = dict(stack.secrets.pools)
    assert set(before) == {"fleet/pool/open/docker"}
    assert stack.fleet.config() is None  # the fleet goes on with what it had
    halting.makes = 9
    applied = stack.apply(BOTH)
    assert applied.records_made == ("node",)
    assert stack.secrets.pools["fleet/pool/open/docker"] == before["fleet/pool/open/docker"]
    assert len(stack.gitlab.records) == 2


@pytest.mark.parametrize(
    ("before", "after"),
    [(f"\ufeff{BOTH}", BOTH), (BOTH, NODE + DOCKER + GITLAB)],
    ids=["the mark of an editor", "the order of tables"],
)
def test_what_toml_ignores_is_no_change(before: str, after: str) -> None:
    stack = Stack()
    stack.apply(before)
    applied = stack.apply(after)
    assert (applied.added, applied.changed, applied.removed) == ((), (), ())
    assert (applied.gitlab_changed, applied.records_made) == (False, ())


@pytest.mark.parametrize(
    ("place", "kind", "owner", "locked"),
    [
        ("instance", "instance_type", None, False),
        ("group:42", "group_type", 42, False),
        ("project:9", "project_type", 9, True),
    ],
)
def test_the_record_is_made_where_runners_are(
    place: str, kind: str, owner: int | None, locked: bool
) -> None:
    stack = Stack()
    text = (GITLAB + NODE).replace("group:42", place)
    stack.apply(text)
    (record,) = stack.gitlab.wanted.values()
    assert (record.kind, record.owner_id, record.locked) == (kind, owner, locked)
    assert (record.run_untagged, record.protected_only) == (False, False)
    assert not stack.apply(text).is_change


@pytest.mark.parametrize(
    "settings",
    [
        {"tags": ("node", "by-hand")},
        {"tags": ()},
        {"run_untagged": True},
        {"maximum_timeout_s": 1},
        {"protected_only": True},
    ],
)
def test_a_setting_that_a_person_changed_in_gitlab_is_put_back(settings: dict[str, Any]) -> None:
    stack = Stack()
    stack.apply(GITLAB + NODE)
    (number,) = stack.gitlab.records
    as_made = stack.gitlab.wanted[number]
    stack.gitlab.update_runner(number, replace(as_made, **settings))
    applied = stack.apply(GITLAB + NODE)
    assert (applied.records_updated, applied.records_made) == (("node",), ())
    assert applied.is_change
    assert stack.gitlab.wanted[number] == as_made


def test_watched_projects_are_listed_once_in_the_files_order() -> None:
    stack = Stack()
    for number in (77, 78):
        stack.gitlab.add_project(GitLabProject(id=number, path=f"acme/p{number}"))
    text = GITLAB + 'watch = { projects = ["acme/p78", 77] }\n' + NODE
    for _ in range(2):
        assert stack.apply(text).watched == ("acme/p78", "acme/p77")
    watched = stack.fleet.watched("gitlab.example.com")
    assert sorted((project.project_id, project.path) for project in watched) == [
        (77, "acme/p77"),
        (78, "acme/p78"),
    ]


def test_a_watched_project_that_is_hidden_stops_it_before_records_are_made() -> None:
    stack = Stack()
    with pytest.raises(Refused):
        stack.apply(GITLAB + 'watch = { projects = ["acme/none"] }\n' + NODE)
    assert "create_runner" not in stack.gitlab.calls
    assert stack.fleet.config() is None


@pytest.mark.parametrize("busy", [False, True])
def test_a_runner_token_that_is_not_valid_any_more_is_made_again(busy: bool) -> None:
    """The record is there and as it should be; its token expired, or a person reset it."""
    stack = Stack()
    stack.apply(GITLAB + DOCKER)
    old = stack.secrets.pools["fleet/pool/open/docker"]
    stack.fleet.note_verified("docker", AT, expires_at=AT + timedelta(hours=1))
    stack.gitlab.invalid.add(old.token)
    if busy:
        job = GitLabJob(
            id=1, project_id=7, name="j", status="running", runner_id=old.runner_id, tags=()
        )
        stack.gitlab.add(job)
    assert stack.apply(GITLAB + DOCKER).records_made == ("docker",)
    assert stack.secrets.pools["fleet/pool/open/docker"] != old
    row = stack.fleet.pool("docker")
    assert (row.verified_at, row.token_expires_at) == (None, None)
    assert (old.runner_id in stack.gitlab.records, tuple(row.former)) == (
        busy,
        (old.runner_id,) if busy else (),
    )
    assert stack.apply(GITLAB + DOCKER).records_made == ()
    stack.gitlab.failing["verify_runner"] = Refused("no", status=400)
    with pytest.raises(Refused):
        stack.apply(GITLAB + DOCKER)


@pytest.mark.parametrize("works", [False, True])
def test_a_pool_that_becomes_protected_gets_another_record_and_secret(*, works: bool) -> None:
    stack = Stack()
    stack.apply(BOTH)
    before = stack.record("docker")
    if works:
        job = GitLabJob(id=1, project_id=7, name="a", status="running", runner_id=before)
        stack.gitlab.add(job)
    for turn, level in enumerate(("protected", "open"), start=1):
        flag = f"\nprotected_only = {str(level == 'protected').lower()}\n"
        text = BOTH.replace("[pools.docker]", f"[pools.docker]{flag}")
        applied = stack.apply(text, minutes=turn)
        assert applied.records_made == ("docker",)
        assert set(stack.secrets.pools) == {f"fleet/pool/{level}/docker", "fleet/pool/open/node"}
        token = stack.secrets.pools[f"fleet/pool/{level}/docker"]
        assert token.runner_id != before
        wanted = stack.gitlab.wanted[token.runner_id]
        assert wanted.protected_only is (level == "protected")
        assert (before in stack.gitlab.records) is works
        former = stack.fleet.pool("docker").former
        assert (before in former) is works
