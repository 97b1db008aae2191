"""Which pool a job goes to: the rule as a table of sentences."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from fleet.model import JobStatus
from fleet.reasons import Reason
from fleet.rules.image import Containers
from fleet.rules.route import (
    Pending,
    RoutePlan,
    decide_reroute,
    decide_route,
    hangs_on_protection,
    may_take,
    outgrew,
    why_ignored,
)
from tests.unit.fleet.facts import job


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A pool as far as routing looks at it."""

    name: str
    tags: tuple[str, ...]
    run_untagged: bool = False
    overflow: str | None = None
    protected_only: bool = False
    backend: str = "ec2"
    executor: str = "docker"


DOCKER = Pool(name="docker", tags=("ec2", "docker"))
NODE = Pool(name="node", tags=("lambda", "node"))
ANY = Pool(name="any", tags=("any",), run_untagged=True)
POOLS = (DOCKER, NODE, ANY)

SMALL = Pool(name="small", tags=("light",), overflow="middle")
MIDDLE = Pool(name="middle", tags=("light", "heavy"), overflow="large")
LARGE = Pool(name="large", tags=("light", "heavy"), overflow="small")
CHAIN = (SMALL, MIDDLE, LARGE)


SHELL = Pool(name="shell", tags=("any",), overflow="lambda", executor="shell")
LAMBDA = Pool(name="lambda", tags=("any",), overflow="docker", backend="lambda", executor="shell")
CONTAINERS = Pool(name="docker", tags=("any",))
KINDS = (SHELL, LAMBDA, CONTAINERS)


def pending(
    *tags: str,
    outgrew: Sequence[str] = (),
    ref: bool | None = None,
    image: str | None = None,
    services: bool = False,
) -> Pending:
    """`ref`: whether it is protected."""
    return Pending(
        tags=tags,
        status=JobStatus.PENDING,
        outgrew=frozenset(outgrew),
        containers=Containers(image=image, services=services),
        is_protected=ref,
    )


@pytest.mark.parametrize(
    ("pool", "tags", "taken"),
    [
        pytest.param(DOCKER, ["docker"], True, id="one of its tags"),
        pytest.param(DOCKER, ["docker", "ec2"], True, id="all of its tags, in any order"),
        pytest.param(DOCKER, ["docker", "gpu"], False, id="one tag too many"),
        pytest.param(DOCKER, ["Docker"], False, id="tags are exact"),
        pytest.param(DOCKER, [], False, id="no tags, and the pool wants some"),
        pytest.param(ANY, [], True, id="no tags, and the pool takes that"),
        pytest.param(ANY, ["docker"], False, id="run_untagged is no wildcard"),
    ],
)
def test_may_take_is_gitlabs_own_rule(pool: Pool, tags: list[str], taken: bool) -> None:
    assert may_take(pool, tags) is taken


ROUTES: dict[str, Any] = {
    "by its tag": (pending("docker"), POOLS, "docker", "routed"),
    "by both its tags": (pending("node", "lambda"), POOLS, "node", "routed"),
    "by having none": (pending(), POOLS, "any", "routed"),
    "first in the file of two": (pending("heavy"), CHAIN, "middle", "routed"),
    "a tag that no pool has": (pending("gpu"), POOLS, None, "no_pool"),
    "tags of two pools": (pending("ec2", "node"), POOLS, None, "no_pool"),
    "no pools yet": (pending("docker"), (), None, "no_pool"),
    "no pool takes untagged ones": (pending(), (DOCKER,), None, "untagged"),
    "GitLab does not know it": (None, POOLS, None, "unknown_job"),
    "it runs": (Pending(tags=("docker",), status=JobStatus.RUNNING), POOLS, None, "taken"),
    "pending, with a runner: taken": (
        Pending(tags=("docker",), status=JobStatus.PENDING, has_runner=True), POOLS, None, "taken"
    ),
    "ended": (Pending(tags=("ec2",), status=JobStatus.FINISHED), POOLS, None, "not_pending"),
    "does not wait yet": (
        Pending(tags=("docker",), status=JobStatus.CREATED), POOLS, None, "not_pending"
    ),
    "outgrew one": (pending("light", outgrew=["small"]), CHAIN, "middle", "overflow"),
    "and two": (pending("light", outgrew=["small", "middle"]), CHAIN, "large", "overflow"),
    "outgrew all: the last one of the circle has it": (
        pending("light", outgrew=["small", "middle", "large"]), CHAIN, "large", "overflow"
    ),
    "outgrew a pool that it does not go to": (
        pending("light", outgrew=["middle"]), CHAIN, "small", "routed"
    ),
    "asks for no image": (pending("any"), KINDS, "shell", "routed"),
    "Lambda bundles its image": (pending("any", image="node:22"), KINDS, "lambda", "image"),
    "no shell has its image": (pending("any", image="ruby:3"), KINDS, "docker", "image"),
    "services need containers": (
        pending("any", image="node:22", services=True), KINDS, "docker", "services"
    ),
    "the last pool that it left says why": (
        pending("any", image="ruby:3", outgrew=["lambda"]), KINDS, "docker", "overflow"
    ),
    "its image is nowhere: it stays": (
        pending("any", image="ruby:3"), (LAMBDA,), "lambda", "routed"
    ),
    "the pool with containers may not take it": (
        pending("any", services=True, ref=False),
        (LAMBDA, replace(CONTAINERS, protected_only=True)), "lambda", "routed"
    ),
    "no overflow to go to": (pending("node", outgrew=["node"]), POOLS, "node", "routed"),
    "its overflow is not in the file": (
        pending("light", outgrew=["small"]), (SMALL,), "small", "routed"
    ),
    "its tags do not allow the overflow": (
        pending("light", outgrew=["small"]), (SMALL, Pool(name="middle", tags=("heavy",))), "small",
        "routed"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("job", "pools", "pool", "reason"), ROUTES.values(), ids=ROUTES)
def test_decide_route(
    job: Pending | None, pools: Sequence[Pool], pool: str | None, reason: str
) -> None:
    assert decide_route(job, pools) == RoutePlan(pool=pool, reason=Reason(reason))


@pytest.mark.parametrize(
    ("job", "pool", "pools", "reason"),
    [
        pytest.param(pending("light"), "middle", CHAIN, None, id="it fits, though not as first"),
        pytest.param(pending("light"), "small", (SMALL,), None, id="the only one"),
        pytest.param(pending("light"), "old", CHAIN, "pool_gone", id="gone, and others fit"),
        pytest.param(pending("light"), "old", (), "pool_gone", id="gone, and nothing fits"),
        pytest.param(
            pending("heavy"), "small", (SMALL,), "pool_unfit", id="its tags are not the pool's"
        ),
        pytest.param(pending(), "small", (SMALL,), "pool_unfit", id="run_untagged was taken away"),
        pytest.param(pending("light"), None, CHAIN, "routed", id="a pool was made for it"),
        pytest.param(pending("heavy"), None, (SMALL,), None, id="still none"),
    ],
)
def test_decide_reroute(
    job: Pending, pool: str | None, pools: Sequence[Pool], reason: str | None
) -> None:
    reroute = decide_reroute(job, pool, pools, because=Reason.NO_POOL)
    assert reroute == (reason and Reason(reason))


SAFE = Pool(name="safe", tags=("ec2", "deploy"), protected_only=True)
OPEN = Pool(name="open", tags=("ec2",))
WIDE = Pool(name="wide", tags=("ec2",), run_untagged=True, protected_only=True)
TIGHT = Pool(name="tight", tags=("ec2",), overflow="safe")
NARROW = Pool(name="narrow", tags=("ec2",), overflow="open", protected_only=True)


PROTECTED: dict[str, Any] = {
    "the open one behind": (["ec2"], (SAFE, OPEN), [], "safe", "open", "open"),
    "the open one before": (["ec2"], (OPEN, SAFE), [], "open", "open", "open"),
    "two before": (["ec2"], (SAFE, NARROW, OPEN), [], "safe", "open", "open"),
    "only a protected one fits": (
        ["deploy"], (SAFE, OPEN), [], "safe", "unprotected", "protection_unknown"
    ),
    "no tags": ([], (SAFE, WIDE), [], "wide", "unprotected", "protection_unknown"),
    "none fits": (["gpu"], (SAFE, WIDE), [], "no_pool", "no_pool", "no_pool"),
    "none untagged": ([], (SAFE, OPEN), [], "untagged", "untagged", "untagged"),
    "its overflow is for protected ones": (
        ["ec2"], (TIGHT, SAFE), ["tight"], "safe", "tight", "tight"
    ),
    "the overflow of a protected one is open": (
        ["ec2"], (NARROW, SAFE, OPEN), ["narrow"], "open", "open", "open"
    ),
    "an overflow that is not in the file": (
        ["ec2"], (NARROW, SAFE), ["narrow"], "narrow", "unprotected", "protection_unknown"
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("tags", "pools", "outgrew", "protected", "unprotected", "unknown"),
    PROTECTED.values(),
    ids=PROTECTED,
)
def test_a_job_goes_to_the_first_pool_that_gitlab_lets_it_use(
    *,
    tags: list[str],
    pools: Sequence[Pool],
    outgrew: list[str],
    protected: str,
    unprotected: str,
    unknown: str,
) -> None:
    plans = [decide_route(pending(*tags, outgrew=outgrew, ref=ref), pools)
             for ref in (True, False, None)]  # fmt: skip
    assert [plan.pool or plan.reason for plan in plans] == [protected, unprotected, unknown]
    # An overflow has another reason than a first pool of the same name.
    asks = hangs_on_protection(
        pending(*tags, outgrew=outgrew), lambda job: decide_route(job, pools)
    )
    assert asks == (plans[0] != plans[1])


def test_where_no_pool_is_for_protected_refs_nothing_is_asked() -> None:
    assert not hangs_on_protection(pending("docker"), lambda job: decide_route(job, POOLS))
    taken = Pending(tags=("deploy",), status=JobStatus.PENDING, has_runner=True)
    assert not hangs_on_protection(taken, lambda job: decide_route(job, (SAFE,)))


@pytest.mark.parametrize(
    ("ref", "pool", "reason"),
    [
        (True, "safe", None),
        (None, "safe", None),
        (False, "safe", Reason.POOL_UNFIT),
        (False, "open", None),
        (True, None, Reason.ROUTED),
        (None, None, Reason.PROTECTION_UNKNOWN),
        (False, None, None),
    ],
)
def test_a_job_leaves_a_pool_that_is_not_for_its_ref_or_says_anew_why_it_has_none(
    ref: bool | None, pool: str | None, reason: Reason | None
) -> None:
    tags = ("deploy",) if pool is None else ("ec2",)
    job = pending(*tags, ref=ref)
    assert decide_reroute(job, pool, (SAFE, OPEN), because=Reason.UNPROTECTED) == reason


@pytest.mark.parametrize(
    ("failure_reason", "overflow", "expected"),
    [
        ("job_execution_timeout", "roomy", True),
        ("job_execution_timeout", None, False),
        ("script_failure", "roomy", False),
        (None, "roomy", False),
    ],
)
def test_a_job_outgrows_a_pool_with_an_overflow_by_its_time_out(
    failure_reason: str | None, overflow: str | None, expected: bool
) -> None:
    assert outgrew(failure_reason, overflow=overflow) is expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (None, None),
        ({"pool": None}, None),
        ({"pool": None, "status": JobStatus.CREATED}, None),
        ({"pool": "docker"}, Reason.STALE_EVENT),
        ({"pool": "docker", "status": JobStatus.RUNNING}, Reason.TAKEN),
        ({"pool": None, "status": JobStatus.FINISHED}, Reason.TAKEN),
        ({"project": 2}, Reason.FOREIGN),
        ({"project": 2, "is_hearsay": True}, None),
        ({"status": JobStatus.RUNNING, "is_hearsay": True}, None),
    ],
)
def test_an_event_of_a_routed_or_taken_job_or_of_another_project_is_ignored(
    row: dict[str, Any] | None, expected: Reason | None
) -> None:
    known = None if row is None else job(1, **row)
    assert why_ignored(known, 1) is expected
