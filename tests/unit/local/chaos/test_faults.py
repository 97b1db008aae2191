"""The catalogue of faults: documented, each with a fleet.toml that may be applied."""

import re
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from fleet.config.reading import read_config
from local.chaos.faults.catalogue import FAULTS, fault_named
from local.chaos.faults.fault import Fault
from local.chaos.suite import Plan

DOCUMENT = Path(__file__).parents[4] / "docs" / "chaos.md"


def test_the_document_lists_the_faults_in_their_order() -> None:
    table = DOCUMENT.read_text().partition("## The faults")[2].partition("## ")[0]
    assert re.findall(r"^\| `([\w-]+)`", table, re.MULTILINE) == [fault.name for fault in FAULTS]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_its_fleet_file_is_valid_and_retries_jobs_of_lost_machines(fault: Fault) -> None:
    config = read_config(fault.file.text("http://127.0.0.1:1", fault.periods))
    assert [pool.infra_retry for pool in config.pools] == [True, True]
    boot = timedelta(seconds=fault.periods.boot_deadline_s)
    assert {pool.boot_deadline for pool in config.pools} == {boot}
    assert config.pools[0].idle.count == fault.file.warm
    assert fault.about
    assert fault_named(fault.name) is fault


def test_an_unknown_name_is_no_fault() -> None:
    assert fault_named("sunshine") is None


def test_runs_that_share_a_laptop_follow_each_other() -> None:
    runs = Plan(faults=FAULTS, seeds=(1, 2, 3)).runs()
    assert len(runs) == 3 * len(FAULTS)
    kinds = [fault.kind for fault, _ in runs]
    changes = sum(kind != following for kind, following in pairwise(kinds))
    assert changes == len(set(kinds)) - 1
    assert [seed for fault, seed in runs if fault is FAULTS[0]] == [1, 2, 3]
