"""From what the engine and the simulator counted to calls per job and their price. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from fleet.prices import UNITS, control_plane_usd_per_1000

Counts = Mapping[str, Mapping[str, float]]

STANDARD = "scale"  # the one state machine that is billed by transition
EXPRESS_GB = 64 / 1024  # the smallest chunk; source: aws.amazon.com/step-functions/pricing
MACHINE_PART = "MachineRole"
ROOT = "root"
# What a runner asks of GitLab, and what making and deleting its record takes.
RUNNER_CALLS = frozenset({"POST /jobs/request", "PATCH /jobs/{job}/trace", "PUT /jobs/{job}"})
RECORD_CALLS = frozenset({"POST /user/runners", "DELETE /runners/{runner}"})
SERVICES = ("ec2", "sqs", "dynamodb", "lambda", "events", "secretsmanager", "kms", "scheduler")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The calls of one burst by name; `guests` are the machines' own, priced with them."""

    calls: Mapping[str, int]
    guest_calls: Mapping[str, int]
    per_job: Mapping[str, float]
    units: Mapping[str, float]
    usd_per_1000: Decimal
    partitions: Mapping[str, float]  # write units of a key's worst second, by table and index


def tally(engine: Counts, gitlab: Mapping[str, int], *, stack: str, jobs: int) -> Tally:
    """The calls of `jobs` jobs. `engine`: counts of `local.aws.calls`; `gitlab`: by endpoint."""
    aws, guests = _aws_calls(engine)
    runs = {_short(name, stack): int(n) for name, n in engine.get("invocations", {}).items()}
    executions = {_short(name, stack): int(n) for name, n in engine.get("executions", {}).items()}
    transitions = _transitions(engine, stack)
    asked = {name: n for name, n in gitlab.items() if name not in RUNNER_CALLS}
    beyond = {name: n for name, n in asked.items() if name not in RECORD_CALLS}
    calls = Counter[str](aws)
    calls.update({f"lambda.{name}": n for name, n in runs.items()})
    calls.update({f"states.{name}": n for name, n in executions.items()})
    calls.update({f"gitlab.{name}": n for name, n in asked.items()})
    calls["states.transitions"] = transitions
    units = _units(engine, calls, stack) | {"standard_transitions": transitions}
    totals = {
        **{service: _sum(aws, service) for service in SERVICES if service != "lambda"},
        "lambda": sum(runs.values()),
        "states.executions": sum(executions.values()),
        "states.transitions": transitions,
        "gitlab": sum(beyond.values()),
        "gitlab.records": sum(asked.values()) - sum(beyond.values()),
        "http_api": int(engine.get("api", {}).get("requests", 0)),
    }
    return Tally(
        calls=dict(sorted(calls.items())),
        guest_calls=dict(sorted({**guests, **_runner_calls(gitlab)}.items())),
        per_job={name: round(n / max(jobs, 1), 2) for name, n in totals.items()},
        units={name: round(n, 1) for name, n in units.items()},
        usd_per_1000=control_plane_usd_per_1000(
            {name: round(number) for name, number in units.items()}, jobs
        ),
        partitions={
            _short(name, stack): round(n, 1) for name, n in engine.get("partitions", {}).items()
        },
    )


def _aws_calls(engine: Counts) -> tuple[Counter[str], Counter[str]]:
    """The fleet's calls and the machines'; those of the laptop's own root are left out."""
    fleet, guests = Counter[str](), Counter[str]()
    for kind, held in engine.items():
        caller = kind.removeprefix("calls ")
        if caller in {kind, ROOT}:
            continue
        calls = guests if MACHINE_PART in caller else fleet
        calls.update({name: int(n) for name, n in held.items()})
    return fleet, guests


def _transitions(engine: Counts, stack: str) -> int:
    """Each state entered, and each attempt after a task's first."""
    name = f"{stack}-{STANDARD}"
    entered, tasks, attempts = (
        engine.get(kind, {}).get(name, 0) for kind in ("entered", "tasks", "attempts")
    )
    return int(entered + attempts - tasks)


def _units(engine: Counts, calls: Mapping[str, int], stack: str) -> dict[str, float]:
    """The billed units, by their names in `fleet.prices`."""
    units = Counter[str]()
    for kind, held in engine.items():
        caller = kind.removeprefix("units ")
        if caller not in {kind, ROOT} and MACHINE_PART not in caller:
            units.update(held)
    express = {
        name: n for name, n in engine.get("execution_seconds", {}).items() if not _is_standard(name)
    }
    billed = {
        "http_api_requests": engine.get("api", {}).get("requests", 0),
        "lambda_requests": sum(engine.get("invocations", {}).values()),
        "lambda_gb_seconds": sum(engine.get("function_gb_seconds", {}).values()),
        "schedules": calls.get("scheduler.CreateSchedule", 0),
        "express_requests": sum(
            n for name, n in engine.get("executions", {}).items() if not _is_standard(name)
        ),
        "express_gb_seconds": sum(express.values()) * EXPRESS_GB,
        "sqs_requests": _sum(calls, "sqs"),
        "secrets_calls": _sum(calls, "secretsmanager"),
        "kms_requests": _sum(calls, "kms"),
    }
    return {name: n for name, n in {**units, **billed}.items() if name in UNITS}


def _is_standard(machine: str) -> bool:
    return machine.endswith(f"-{STANDARD}")


def _runner_calls(gitlab: Mapping[str, int]) -> dict[str, int]:
    return {f"gitlab.{name}": n for name, n in gitlab.items() if name in RUNNER_CALLS}


def _sum(calls: Mapping[str, int], service: str) -> int:
    return sum(n for name, n in calls.items() if name.startswith(f"{service}."))


def _short(name: str, stack: str) -> str:
    return name.removeprefix(f"{stack}-")
