"""The list of faults: complete, named, each with a fleet.toml that may be applied."""

from datetime import timedelta
from itertools import pairwise

import pytest

from fleet.config.reading import read_config
from local.chaos.fault import Fault
from local.chaos.faults import FAULTS, fault_named
from local.chaos.suite import Plan

NAMES = [fault.name for fault in FAULTS]


def test_everything_that_was_asked_for_can_be_broken() -> None:
    assert set(NAMES) >= {
        "lost-webhooks", "dropped-webhooks", "delayed-webhooks", "duplicate-webhooks",
        "reordered-webhooks", "hook-disabled", "gitlab-429", "gitlab-500", "cancelled-pipeline",
        "killed-at-boot", "killed-before-credential", "killed-idle", "killed-while-running",
        "killed-after-job", "lost-while-running", "frozen-while-running", "dry-zone", "throttled",
        "quota", "spot-notice", "engine-restart", "storm",
    }  # fmt: skip
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("fault", FAULTS, ids=NAMES)
def test_its_fleet_file_is_valid_and_retries_what_machines_fail(fault: Fault) -> None:
    config = read_config(fault.file.text("http://127.0.0.1:1", fault.periods))
    assert [pool.infra_retry for pool in config.pools] == [True, True]
    boot = timedelta(seconds=fault.periods.boot_deadline_s)
    assert {pool.boot_deadline for pool in config.pools} == {boot}
    assert config.pools[0].idle.count == fault.file.warm


@pytest.mark.parametrize("fault", FAULTS, ids=NAMES)
def test_it_says_what_it_is(fault: Fault) -> None:
    assert fault.about
    assert fault_named(fault.name) is fault


def test_no_fault_of_that_name() -> None:
    assert fault_named("sunshine") is None


def test_with_all_webhooks_lost_a_job_waits_one_period_and_a_boot_at_most() -> None:
    fault = fault_named("lost-webhooks")
    assert fault is not None
    periods = fault.periods
    assert fault.wait_at_most_s == periods.reconcile_s + periods.boot_deadline_s


def test_runs_that_share_a_laptop_follow_each_other() -> None:
    runs = Plan(faults=FAULTS, seeds=(1, 2, 3)).runs()
    assert len(runs) == 3 * len(FAULTS)
    kinds = [fault.kind for fault, _ in runs]
    changes = sum(one != other for one, other in pairwise(kinds))
    assert changes == len(set(kinds)) - 1
    assert [seed for fault, seed in runs if fault is FAULTS[0]] == [1, 2, 3]
