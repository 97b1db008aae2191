"""The faults by name, in the order in which the suite runs them."""

from local.chaos.faults.cloud import CLOUD
from local.chaos.faults.fault import Fault
from local.chaos.faults.gitlab import GITLAB
from local.chaos.faults.launches import LAUNCHES
from local.chaos.faults.machines import MACHINES
from local.chaos.faults.webhooks import WEBHOOKS

FAULTS: tuple[Fault, ...] = (*WEBHOOKS, *GITLAB, *MACHINES, *LAUNCHES, *CLOUD)


def fault_named(name: str) -> Fault | None:
    """The fault of this name."""
    return next((fault for fault in FAULTS if fault.name == name), None)
