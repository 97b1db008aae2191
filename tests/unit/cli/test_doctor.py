"""`doctor`: a line for each check, what to do, and the exit code, of a fleet well or ill."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.testing import CliRunner, Result

from adapters.aws.clients import Clients
from adapters.aws.demand import Demand
from adapters.ledger.hooks import HookRow
from cli.doctor import DoctorWorld
from cli.main import app
from fleet.errors import Refused, Transient
from fleet.hook_scope import HookScope
from infra.package import sources_version
from operations.fleet_handle import Deployed
from tests.unit.cli.cloudformation import refusal
from tests.unit.cli.fleet_at_work import AT, INSTANCE, AtWork, key
from tests.unit.cli.session import Session
from tests.unit.cli.test_init import Account
from tests.unit.cli.test_validate import SCOPES, FakeAccounts
from tests.unit.fleet.rules.standings import TROUBLE

IMAGE = f"123456789012.dkr.ecr.eu-central-1.amazonaws.com/runner@sha256:{'0123' * 16}"
HOOK = "https://hook.example.com/webhook"


class Ward(Account):
    """An account in which everything is as it should be; tests take parts away."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = {"StackStatus": "UPDATE_COMPLETE", "StackName": "fleet-a"}
        self.outputs |= {"Version": sources_version(), "Subnets": "subnet-a,subnet-b"}
        self.parameters = {
            "CodeBucket": "code",
            "AlarmTopicArn": "arn:aws:sns:eu-central-1:123456789012:ops",
            "Ec2Image": IMAGE,
            "MachineImage": "/aws/service/ami",
        }
        self.zones = "ab"
        self.has_route = True
        self.rule = "ENABLED"
        self.logged = [{"message": "START"}]
        self.reserved: dict[str, int] = {}
        self.subscriptions = "1"

    def clients(self) -> Clients:
        more = dict.fromkeys(("events", "logs", "sns"), self)
        return cast("Clients", SimpleNamespace(**(vars(super().clients()) | more)))

    def describe_stacks(self, **request: str) -> dict[str, Any]:
        answer = super().describe_stacks(**request)
        answer["Stacks"][0]["Parameters"] = [
            {"ParameterKey": key, "ParameterValue": value} for key, value in self.parameters.items()
        ]
        return answer

    def head_bucket(self, **_: str) -> None:
        self._called("head_bucket")

    def describe_subnets(self, **_: Any) -> dict[str, Any]:
        self._called("describe_subnets")
        return {
            "Subnets": [
                {
                    "SubnetId": f"subnet-{zone}",
                    "VpcId": "vpc-1",
                    "AvailabilityZone": f"eu-central-1{zone}",
                    "AvailableIpAddressCount": 250,
                }
                for zone in self.zones
            ]
        }

    def describe_route_tables(self, **_: Any) -> dict[str, Any]:
        """One table, with a default route or without."""
        routes = [{"DestinationCidrBlock": "0.0.0.0/0"}] if self.has_route else []
        return {"RouteTables": [{"Routes": routes}]}

    def describe_rule(self, **_: str) -> dict[str, Any]:
        return {"State": self.rule}

    def filter_log_events(self, **_: Any) -> dict[str, Any]:
        return {"events": self.logged}

    def get_function_concurrency(self, **_: str) -> dict[str, int]:
        return self.reserved

    def get_topic_attributes(self, **_: str) -> dict[str, Any]:
        self._called("get_topic_attributes")
        return {"Attributes": {"SubscriptionsConfirmed": self.subscriptions}}


@pytest.fixture
def ward(file: Path) -> Ward:
    """An account, and a folder with the fleet.toml in force."""
    assert file.exists()
    return Ward()


@pytest.fixture
def at_work(ward: Ward) -> AtWork:
    """A fleet with a token, a pool's record and a webhook in order."""
    assert ward.stack is not None
    fleet = AtWork(gitlab=FakeAccounts(SCOPES | {"api"}))
    applied = fleet.run("apply", "--gitlab-token-env", "T", env={"T": "glpat-1"})
    assert applied.exit_code == 0
    scope = HookScope(kind="group", id=42)
    fleet.deployed.fleet.record_hook(
        HookRow(
            instance=INSTANCE,
            scope=scope,
            hook_id=7,
            url=HOOK,
            verification="signing-token",
            registered_at=AT,
        )
    )
    fleet.gitlab.fake_api.answers["/groups/42/hooks/7"] = {"id": 7, "url": HOOK}
    return fleet


def run(ward: Ward, fleet: AtWork, session: Session, *options: str) -> Result:

    def find(stack: str, _: object) -> Deployed:
        if "LedgerTable" in ward.failing:
            raise Refused("this stack is not a runner fleet", stack=stack)
        return fleet.deployed

    world = DoctorWorld(aws=lambda _: ward.clients(), find=find)
    arguments = ["doctor", "--stack", "fleet-a", *options]
    result = CliRunner().invoke(app, arguments, prog_name="runner-fleet", obj=world)
    return session.show(arguments, result)


def test_a_fleet_that_is_well_passes_every_check(
    ward: Ward, at_work: AtWork, screen: Callable[[str, str], None]
) -> None:
    session = Session({sources_version(): "0.1.0+01234567"})
    assert run(ward, at_work, session).exit_code == 0
    answer = json.loads(run(ward, at_work, Session(), "--json").stdout)
    assert answer["ok"]
    assert {"subject", "result", "finding", "todo"} == set(answer["checks"][0])
    screen("doctor", str(session))


def test_old_dead_letters_keep_no_fleet_from_being_well(ward: Ward, at_work: AtWork) -> None:
    """They are about jobs of before: `up` goes on, and says what to do about them."""
    at_work.queues["events"].send([Demand(job=key(1), project_id=7, pool="docker", attempt=4)])
    result = run(ward, at_work, Session())
    assert result.exit_code == 0
    assert "warn  fleet's state: 1 events started no state machine" in result.stdout
    assert "-> see docs/operations.md, EventDeadLetters" in result.stdout


@pytest.mark.parametrize(
    ("failing", "says"),
    [
        pytest.param({}, "older than this command: deploy it again", id="of an older version"),
        pytest.param(
            {"invoke": refusal("AccessDeniedException")}, "AccessDeniedException", id="no right"
        ),
    ],
)
def test_functions_that_cannot_be_asked_keep_no_fleet_from_being_well(
    ward: Ward, at_work: AtWork, failing: dict[str, Exception], says: str
) -> None:
    ward.answer = {"wake": True}
    ward.failing |= failing
    result = run(ward, at_work, Session())
    (line,) = [line for line in result.stdout.splitlines() if "functions:" in line]
    assert (result.exit_code, line.startswith("warn")) == (0, True)
    assert says in line


def test_a_problem_of_the_fleet_itself_is_bad(ward: Ward, at_work: AtWork) -> None:
    at_work.fleet.note_trouble(TROUBLE)
    result = run(ward, at_work, Session())
    assert result.exit_code == 1
    assert f"BAD   fleet's state: {TROUBLE.says}" in result.stdout


def sick(ward: Ward, fleet: AtWork) -> None:
    """Everything that can be wrong besides what hides the rest."""
    ward.stack = {"StackStatus": "UPDATE_ROLLBACK_FAILED"}
    ward.outputs["Version"] = "0.0.1+deadbeef"
    ward.failing["head_bucket"] = refusal("404")
    ward.zones, ward.has_route = "a", False
    ward.rule = "DISABLED"
    ward.reserved = {"ReservedConcurrentExecutions": 0}
    ward.failing["get_topic_attributes"] = refusal("NotFound")
    ward.vcpus = 2
    ward.digests = set()
    ward.answer = {"answers": False, "failure": "GitLab did not answer (error=ConnectTimeout)"}
    Path("fleet.toml").write_text("x")
    fleet.gitlab.fake_api.answers["/groups/42/hooks/7"] = {
        "id": 7,
        "url": HOOK,
        "custom_webhook_template": "{}",
    }
    cast("FakeAccounts", fleet.gitlab).owned.clear()
    fleet.gitlab.records.clear()


def test_each_fault_is_a_line_with_what_to_do(
    ward: Ward, at_work: AtWork, screen: Callable[[str, str], None]
) -> None:
    session = Session({sources_version(): "0.1.0+01234567"})
    sick(ward, at_work)
    result = run(ward, at_work, session)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("BAD"):
            assert lines[number + 1].startswith("      -> ")
    screen("doctor_sick", str(session))


def break_stack(ward: Ward, _: AtWork) -> None:
    ward.stack = None


def break_credentials(ward: Ward, _: AtWork) -> None:
    """AWS does not know the caller."""
    ward.failing["describe_stacks"] = refusal("UnrecognizedClientException")


def break_fleet(ward: Ward, _: AtWork) -> None:
    """The stack is of something else."""
    ward.failing["LedgerTable"] = refusal("x")


def break_configuration(_: Ward, fleet: AtWork) -> None:
    fleet.table.items.clear()


def break_gitlab(_: Ward, fleet: AtWork) -> None:
    fleet.gitlab.failing["version"] = Transient("GitLab did not answer", call="GET /version")


def break_hook(_: Ward, fleet: AtWork) -> None:
    """The webhook is deleted in GitLab."""
    fleet.gitlab.fake_api.answers["/groups/42/hooks/7"] = Refused("no", status=404)


@pytest.mark.parametrize(
    ("damage", "subject"),
    [
        (break_stack, "stack"),
        (break_credentials, "stack"),
        (break_fleet, "stack's outputs"),
        (break_configuration, "fleet.toml"),
        (break_gitlab, "GitLab"),
        (break_hook, "webhook of group:42"),
    ],
)
def test_each_fault_is_a_line_of_its_own_and_no_traceback(
    ward: Ward, at_work: AtWork, damage: Callable[[Ward, AtWork], None], subject: str
) -> None:
    damage(ward, at_work)
    result = run(ward, at_work, Session(), "--json")
    answer = json.loads(result.stdout)
    bad = [check["subject"] for check in answer["checks"] if check["result"] == "failure"]
    assert (result.exit_code, answer["ok"], result.stderr) == (1, False, "")
    assert subject in bad
