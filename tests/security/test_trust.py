"""Machines of `protected_only` pools share no token, whatever fleet.toml says of credentials."""

from fleet.config.reading import read_config
from fleet.reasons import Reason
from fleet.rules.limits import shares_record
from tests.unit.orchestrator.scene import SHARED, Scene

PROTECTED = SHARED + "protected_only = true\n"


def test_a_protected_machine_has_a_record_of_its_own_that_ends_with_it() -> None:
    scene = Scene(PROTECTED)
    scene.pool_tokens.clear()  # `scale` may not read the pool's own
    scene.waits(1)
    assert scene.scale().launched == 1
    runner = scene.only_runner
    assert runner.gitlab_runner_id in scene.gitlab.records
    assert scene.gitlab.wanted[runner.gitlab_runner_id].protected_only
    assert scene.credential.token == f"glrt-{runner.gitlab_runner_id}"
    scene.closes(runner, Reason.BOOT_DEADLINE)
    assert runner.gitlab_runner_id not in scene.gitlab.records


def test_a_removed_pool_is_taken_as_configured() -> None:
    config = read_config(SHARED, backends=("tests", "lambda"))
    assert shares_record(config, None)
