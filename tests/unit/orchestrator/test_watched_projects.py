"""The projects that fleet.toml names, and those of watched groups."""

from adapters.gitlab.values import GitLabProject
from fleet.errors import Transient
from orchestrator.watched_projects import refresh_watched
from tests.unit.orchestrator.scene import FLEET, INSTANCE, Scene
from tests.unit.orchestrator.test_hooks import hook

WATCH = 'watch = { projects = ["acme/demo"], groups = [43] }\n'
WATCHING = FLEET.replace('"group:42"\n', f'"group:42"\n{WATCH}')


def at_leisure() -> bool:
    return True


def watched(scene: Scene) -> set[int]:
    return {project.project_id for project in scene.world.fleet.watched(INSTANCE)}


def test_named_projects_and_those_of_groups_are_watched() -> None:
    scene = Scene(text=WATCHING)
    scene.world.fleet.record_hook(hook("group:50"))  # our webhook is there
    for number, path in ((77, "acme/demo"), (78, "acme/api"), (79, "tools/lint"), (80, "late/one")):
        scene.gitlab.add_project(GitLabProject(id=number, path=path))
    scene.gitlab.groups = {"42": [78], "43": [79], "50": [80]}
    refresh_watched(scene.world, at_leisure)
    assert watched(scene) == {77, 78, 79, 80}


def test_groups_are_listed_every_ten_minutes_even_after_a_failure() -> None:
    scene = Scene()
    scene.gitlab.failing["group_projects"] = Transient(status=500)
    for seconds, times in ((0, 1), (60, 1), (600, 2)):
        scene.clock.go(seconds)
        refresh_watched(scene.world, at_leisure)
        assert scene.gitlab.calls.count("group_projects") == times


def test_a_project_that_is_known_is_not_written_again() -> None:
    scene = Scene()
    scene.gitlab.add_project(GitLabProject(id=78, path="acme/api"))
    scene.gitlab.groups = {"42": [78]}
    refresh_watched(scene.world, at_leisure)
    written = scene.table.writes
    scene.clock.go(600)
    refresh_watched(scene.world, at_leisure)
    assert scene.table.writes == written + 1  # when it was listed
    scene.gitlab.add_project(GitLabProject(id=78, path="acme/moved"))
    scene.clock.go(600)
    refresh_watched(scene.world, at_leisure)
    assert [project.path for project in scene.world.fleet.watched(INSTANCE)] == ["acme/moved"]


def test_a_listing_ends_when_time_does() -> None:
    scene = Scene()
    for number in (78, 79, 80):
        scene.gitlab.add_project(GitLabProject(id=number, path=f"acme/{number}"))
    scene.gitlab.groups = {"42": [78, 79, 80]}
    looks = iter([True, True, True])
    refresh_watched(scene.world, lambda: next(looks, False))
    assert watched(scene) == {78, 79}


def test_a_project_that_gitlab_hides_keeps_no_group_from_being_listed() -> None:
    scene = Scene(text=WATCHING)
    scene.gitlab.add_project(GitLabProject(id=79, path="tools/lint"))
    scene.gitlab.groups = {"43": [79]}
    refresh_watched(scene.world, at_leisure)
    assert watched(scene) == {79}
