"""Until when the fleet's own token is valid: asked once a day, shown two weeks before."""

from datetime import timedelta

import pytest

from adapters.gitlab.values import GitLabToken
from fleet.errors import FleetError, Refused, Transient
from operations.status import gather
from tests.unit.cli.fleet_at_work import FLEET as FLEET_AT_WORK, AtWork
from tests.unit.orchestrator.scene import Scene


class TestTokenLife:
    """Until when the fleet's token is valid: asked once a day; `status` warns for two weeks."""

    @pytest.mark.parametrize(("days", "warned"), [(13, True), (14, False), (0, True), (-1, True)])
    def test_status_warns_in_time(self, days: int, warned: bool) -> None:
        scene = Scene()
        ends_on = scene.clock().date() + timedelta(days=days)
        scene.gitlab.token = GitLabToken(scopes=frozenset({"api"}), expires_at=ends_on)
        scene.reconcile()
        at_work = AtWork(table=scene.table, clock=scene.clock).configure(FLEET_AT_WORK)
        expiring = [
            problem
            for problem in gather(at_work.deployed, jobs=1).problems
            if "expires" in problem.what
        ]
        assert [problem.what for problem in expiring] == (
            [f"the fleet's GitLab token expires on {ends_on}"] if warned else []
        )

    def test_is_asked_once_a_day_and_after_apply(self) -> None:
        scene = Scene()
        for _ in range(3):
            scene.clock.go(60)
            scene.reconcile()
        assert scene.gitlab.calls.count("own_token") == 1
        scene.world.fleet.forget_token_life()
        scene.reconcile()
        scene.clock.go(86_400)
        scene.reconcile()
        assert scene.gitlab.calls.count("own_token") == 3

    @pytest.mark.parametrize(
        ("failure", "calls"), [(Refused("no", status=404), 1), (Transient("no"), 2)]
    )
    def test_a_token_that_has_no_such_day(self, failure: FleetError, calls: int) -> None:
        scene = Scene()
        scene.gitlab.failing["own_token"] = failure
        scene.reconcile()
        scene.reconcile()
        assert scene.gitlab.calls.count("own_token") == calls
