"""A webhook speaks for its own project or group, whatever its secret's holder writes."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from fleet.errors import Transient
from fleet.hook_scope import HookScope
from fleet.model import JobStatus
from fleet.reasons import Reason
from fleet.rules.hook_reach import INSIDE_KEPT, OUTSIDE_KEPT, ProjectGroups, may_speak
from fleet.webhook_secrets import webhook_name
from tests.fakes import AT
from tests.unit.orchestrator.scene import INSTANCE, PROJECT, Scene, key

TOP, SUB, SIBLING = 40, 41, 42  # acme, acme/platform, acme/web
HOME = (SUB, TOP)
ANSWERS = {"route": "pending", "taken": "running", "ended": "success"}


@dataclass(frozen=True)
class Case:
    scope: str
    groups: tuple[int, ...] | None  # of the project in GitLab; None: it has no such project
    speaks: bool


CASES = {
    "its own project": Case(f"project:{PROJECT}", HOME, speaks=True),
    "another project": Case("project:8", HOME, speaks=False),
    "its own group": Case(f"group:{SUB}", HOME, speaks=True),
    "a group above": Case(f"group:{TOP}", HOME, speaks=True),
    "a group beside": Case(f"group:{SIBLING}", HOME, speaks=False),
    "a group below": Case(f"group:{SUB}", (TOP,), speaks=False),
    "a person's own project": Case(f"group:{SUB}", (), speaks=False),
    "no such project": Case(f"group:{SUB}", None, speaks=False),
    "a project of the group's number": Case(f"group:{PROJECT}", HOME, speaks=False),
}


def scene_with(groups: tuple[int, ...] | None) -> Scene:
    scene = Scene()
    if groups is not None:
        scene.gitlab.groups_by_project[PROJECT] = groups
        scene.push(1)
    return scene


def delivers(scene: Scene, scope: str, status: str, path: str = "acme/platform/demo") -> Reason:
    """Have the holder of a webhook's secret speak; the path is whatever they like."""
    name = webhook_name(HookScope.read(scope), "https://fleet/webhook")
    facts: dict[str, Any] = {"hook": name, "hook_secret_id": "0" * 12, "project_path": path}
    if status == "pending":
        return scene.route(1, project_id=PROJECT, **facts).reason
    return scene.settle(1, status, project_id=PROJECT, **facts).reason


@pytest.mark.parametrize("status", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_webhook_speaks_for_what_is_in_its_scope(
    case: Case, status: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = scene_with(case.groups)
    before = dict(scene.table.items)
    reason = delivers(scene, case.scope, status)
    assert (reason is not Reason.OUTSIDE) is case.speaks
    assert (scene.world.jobs.job(key(1)) is not None) is case.speaks
    assert ("DeliveryOutside" in capsys.readouterr().out) is not case.speaks
    if not case.speaks:
        new = {sk for pk, sk in scene.table.items if (pk, sk) not in before}
        assert new <= {"groups"}
        assert (len(scene.queue.demands), scene.world.fleet.watched(INSTANCE)) == (0, ())
        assert set(scene.gitlab.calls) <= {"groups_above"}


# What GitLab says changes


def moves(scene: Scene) -> None:
    scene.gitlab.groups_by_project[PROJECT] = (SIBLING, TOP)


def is_deleted(scene: Scene) -> None:
    del scene.gitlab.groups_by_project[PROJECT]


@pytest.mark.parametrize("change", [moves, is_deleted])
def test_a_project_that_left_the_group_is_outside_within_ten_minutes(
    change: Callable[[Scene], None],
) -> None:
    scene = scene_with(HOME)
    assert delivers(scene, f"group:{SUB}", "pending") is Reason.ROUTED
    change(scene)
    scene.clock.go(INSIDE_KEPT.total_seconds())
    assert delivers(scene, f"group:{SUB}", "success") is Reason.OUTSIDE
    assert scene.job(1).status is JobStatus.PENDING


def test_a_project_that_moved_in_is_served_a_minute_later() -> None:
    scene = scene_with((TOP,))
    assert delivers(scene, f"group:{SIBLING}", "pending") is Reason.OUTSIDE
    moves(scene)
    scene.clock.go(OUTSIDE_KEPT.total_seconds())
    assert delivers(scene, f"group:{SIBLING}", "pending") is Reason.ROUTED


def test_names_prove_nothing_so_a_renamed_group_keeps_its_projects() -> None:
    scene = scene_with(HOME)
    assert delivers(scene, f"group:{SUB}", "pending", path="renamed/demo") is Reason.ROUTED
    assert delivers(scene, f"group:{SIBLING}", "running", path="acme/web/demo") is Reason.OUTSIDE


@pytest.mark.parametrize("groups", [HOME, ()])
def test_gitlab_is_asked_once_for_many_deliveries(groups: tuple[int, ...]) -> None:
    scene = scene_with(groups)
    for status in ("pending", "running", "running", "success"):
        delivers(scene, f"group:{SUB}", status)
    assert scene.gitlab.calls.count("groups_above") == 1


def test_without_gitlabs_word_nothing_is_decided() -> None:
    scene = scene_with(HOME)
    scene.gitlab.failing["groups_above"] = Transient()
    for status in ANSWERS.values():
        with pytest.raises(Transient):
            delivers(scene, f"group:{SUB}", status)
    assert scene.world.jobs.job(key(1)) is None


@pytest.mark.parametrize(
    ("scope", "age_s", "may"),
    [
        (f"group:{SUB}", 599, True),
        (f"group:{SUB}", 600, None),
        (f"group:{SIBLING}", 59, False),
        (f"group:{SIBLING}", 60, None),
        ("project:8", 0, False),
    ],
)
def test_gitlabs_word_holds_for_a_while(scope: str, age_s: int, may: bool | None) -> None:
    known = ProjectGroups(ids=HOME, asked_at=AT - timedelta(seconds=age_s))
    assert may_speak(HookScope.read(scope), PROJECT, known, AT) is may


def test_a_row_of_groups_that_cannot_be_read_is_asked_for_anew() -> None:
    scene = scene_with(HOME)
    pk = f"project#{INSTANCE}#{PROJECT}"
    scene.table.items[pk, "groups"] = {"pk": pk, "sk": "groups", "ids": "all", "asked_at": 7}
    assert delivers(scene, f"group:{SUB}", "pending") is Reason.ROUTED
