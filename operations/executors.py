"""Whether the machines of a fleet can run what its pools ask for."""

from collections.abc import Collection, Mapping

from fleet.config.reading import FleetConfig
from fleet.errors import Refused

EXECUTORS_VARIABLE = "RUNNER_FLEET_EXECUTORS"  # those that EC2 machines have, with commas between


def allowed_executors(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The executors that the environment allows; empty: any."""
    return tuple(
        executor for executor in environment.get(EXECUTORS_VARIABLE, "").split(",") if executor
    )


def refuse_executors(config: FleetConfig, allowed: Collection[str]) -> None:
    """Raise `Refused` for the first EC2 pool whose executor its machines lack."""
    for pool in config.pools:
        if allowed and pool.backend == "ec2" and pool.executor not in allowed:
            raise Refused(
                f'pool {pool.name} has executor = "{pool.executor}", which these machines lack:'
                f' write executor = "{next(iter(allowed))}", or start them with'
                " --machines containers"
            )
