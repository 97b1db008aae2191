"""Which runner may take which job, and which one it gets."""

import pytest

from local.gitlab.model import Project, Runner
from local.gitlab.queue import may_run
from tests.unit.local.gitlab.small_gitlab import SmallGitLab, group, job_spec, project, runner

TOP = group("acme")
SUB = group("platform", number=2, parent=TOP)
DEMO = project("demo", number=1, within=SUB)
ALIEN = project("alien", number=2, within=group("other", number=3))
ALONE = project()
ALONE.shared_runners_enabled = False


@pytest.mark.parametrize(
    ("by", "where", "expected"),
    [
        pytest.param(runner(), DEMO, True, id="an instance runner"),
        pytest.param(runner(), ALONE, False, id="where instance runners are off"),
        pytest.param(runner(kind="group_type", owner=SUB), DEMO, True, id="the project's group"),
        pytest.param(runner(kind="group_type", owner=TOP), DEMO, True, id="a group above"),
        pytest.param(runner(kind="group_type", owner=TOP), ALIEN, False, id="another group"),
        pytest.param(runner(kind="project_type", owner=DEMO), DEMO, True, id="its own project"),
        pytest.param(runner(kind="project_type", owner=DEMO), ALIEN, False, id="not another"),
    ],
)
def test_scope(by: Runner, where: Project, expected: bool) -> None:
    assert may_run(by, where, frozenset(), protected=False) is expected


@pytest.mark.parametrize(
    ("access_level", "protected", "expected"),
    [
        ("not_protected", False, True),
        ("not_protected", True, True),
        ("ref_protected", True, True),
        ("ref_protected", False, False),
    ],
)
def test_protection(access_level: str, protected: bool, expected: bool) -> None:
    by = runner(access_level=access_level)
    assert may_run(by, DEMO, frozenset(), protected=protected) is expected


@pytest.mark.parametrize(
    ("rule", "name", "holds"),
    [
        ("release/*", "release/2", True),
        ("release/*", "release/", True),
        ("release/*", "a/release/2", False),
        ("*-stable", "2-stable", True),
        ("*-stable", "2-stable-x", False),
        ("v*.*", "v1.2", True),
        ("v*.*", "v12", False),
        ("v1.2", "v1x2", False),
        ("*", "anything/at.all", True),
        ("Main", "main", False),
    ],
)
def test_a_star_is_the_only_wildcard_of_a_protected_name(rule: str, name: str, holds: bool) -> None:
    where = project(within=SUB)
    where.protected_branches.append(rule)
    where.protected_tags.append(rule)
    where.default_branch = "trunk"
    assert where.is_protected(name) is holds
    assert where.is_protected_tag(name) is holds


def test_a_runner_gets_the_oldest_job_of_all_kinds_that_it_may_take() -> None:
    site = SmallGitLab()
    tags = {"a": ("ec2",), "b": ("lambda",), "c": (), "d": ("ec2",)}
    pipeline = site.start(*(job_spec(name, tags=some) for name, some in tags.items()))
    names = [[job.spec.name for job in jobs] for jobs in site.engine.index.queue.kinds()]
    assert names == [["a", "d"], ["b"], ["c"]]
    only = runner("lambda", run_untagged=False)
    assert [site.take(only), site.take(only)] == [pipeline.latest["b"], None]
    assert [site.take() for _ in range(4)] == [*(pipeline.latest[n] for n in "acd"), None]


def test_the_version_changes_with_each_arrival_and_change_but_not_when_a_job_is_taken() -> None:
    site = SmallGitLab()
    queue = site.engine.index.queue
    versions = [queue.version]
    for _ in range(3):
        site.start(job_spec("unit"))
        versions.append(queue.version)
    queue.touch()
    versions.append(queue.version)
    assert len(set(versions)) == 5
    assert {len(version) for version in versions} == {32}
    assert site.take() is not None
    assert queue.version == versions[-1]
