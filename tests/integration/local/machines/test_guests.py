"""Guests on the engine: booted from the template's own user data, ended in both directions."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import Refused
from fleet.machine.mailbox import Report
from local.aws.engine import Engine
from local.aws.stack import Stack
from local.machines.guests import GuestHost, GuestOptions, GuestState
from tests.integration import runs
from tests.integration.runs import BUSY, JOB, Mailboxes, credential, eventually


@dataclass(frozen=True, slots=True)
class Park:
    """The engine, a host, and the fleet's part."""

    engine: Engine
    stack: Stack
    host: GuestHost
    folder: Path

    def launch(self, count: int = 1) -> list[str]:
        """Instances as the fleet launches them."""
        tags = [{"Key": "runner-fleet:stack", "Value": self.stack.name}]
        made = self.engine.client("ec2").create_fleet(
            Type="instant",
            LaunchTemplateConfigs=[
                {
                    "LaunchTemplateSpecification": {
                        "LaunchTemplateId": self.stack.launch_template,
                        "Version": "$Latest",
                    }
                }
            ],
            TargetCapacitySpecification={
                "TotalTargetCapacity": count,
                "DefaultTargetCapacityType": "spot",
            },
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )
        return [name for group in made["Instances"] for name in group["InstanceIds"]]

    def equip(self, instance_id: str, script: list[Any], **changes: Any) -> None:
        """Put a credential for a script into the machine's mailbox."""
        given = credential(script, self.folder, **changes)
        self._mailboxes.equip(self._mailbox(instance_id), given)

    def report(self, instance_id: str) -> Report | None:
        """The machine's last report."""
        return self._mailboxes.report(self._mailbox(instance_id))

    def is_in(self, instance_id: str, state: str) -> bool:
        return self._mailboxes.is_in(self._mailbox(instance_id), state)

    def ec2_state(self, instance_id: str) -> str:
        answer = self.engine.client("ec2").describe_instances(InstanceIds=[instance_id])
        return str(answer["Reservations"][0]["Instances"][0]["State"]["Name"])

    def terminate(self, instance_id: str) -> None:
        self.engine.client("ec2").terminate_instances(InstanceIds=[instance_id])

    @property
    def _mailboxes(self) -> Mailboxes:
        return Mailboxes(self.engine, self.stack)

    def _mailbox(self, instance_id: str) -> str:
        return f"{self.stack.machine_role_id}:{instance_id}"


def clear_of_others(engine: Engine) -> None:
    """End the instances that other tests left on the shared engine."""
    up = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    reservations = engine.client("ec2").describe_instances(Filters=up)["Reservations"]
    left = [one["InstanceId"] for group in reservations for one in group["Instances"]]
    if left:
        engine.client("ec2").terminate_instances(InstanceIds=left)


@pytest.fixture
def park(engine: Engine, stack: Stack, tmp_path: Path) -> Iterator[Park]:
    options = GuestOptions(
        stack=stack.name,
        folder=tmp_path / "guests",
        environment={
            "RUNNER_FLEET_GITLAB_RUNNER": str(runs.FAKE),
            "FLEET_HEARTBEAT_S": "0.2",
            "FLEET_SPOT_EVERY_S": "0.1",
        },
        poll_s=0.05,
    )
    clear_of_others(engine)
    with GuestHost(engine, options) as host:
        used = Park(engine, stack, host, tmp_path)
        yield used
        for guest in host.guests:
            used.terminate(guest.instance_id)
    assert host.processes() == 0


def test_a_machine_boots_works_reports_and_is_gone(park: Park) -> None:
    (instance_id,) = park.launch()
    park.equip(instance_id, JOB)
    eventually(lambda: park.ec2_state(instance_id) == "terminated", within_s=30)
    report = park.report(instance_id)
    assert report is not None
    assert (report.state, report.outcome, report.job_id) == ("done", "succeeded", 101)
    assert [step.name.value for step in report.steps] == [
        "called_home",
        "credential_read",
        "exposed",
        "job_taken",
        "first_output",
        "job_finished",
        "used",
        "runner_exited",
        "ended",
    ]
    assert "runner-fleet agent: succeeded" in park.host.console(instance_id)
    eventually(lambda: park.host.guests == ())
    assert not (park.folder / "guests" / instance_id).exists()


def test_each_guest_serves_its_own_credential(park: Park) -> None:
    first, second = park.launch(2)
    park.equip(first, JOB, runner_id="rf-one")
    park.equip(second, JOB, runner_id="rf-two")
    eventually(lambda: park.is_in(first, "done") and park.is_in(second, "done"), within_s=30)
    reports = [park.report(first), park.report(second)]
    assert [report and report.runner_id for report in reports] == ["rf-one", "rf-two"]


def environment_of_user_data(keeper: int) -> dict[str, str]:
    """The environment of the process that runs the user data; empty before its `exec`."""
    try:
        children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
        for child in children:
            if Path(f"/proc/{child}/cmdline").read_bytes().startswith(b"bash\0"):
                entries = Path(f"/proc/{child}/environ").read_text().split("\0")
                return dict(entry.split("=", 1) for entry in entries if entry)
    except OSError:  # ended meanwhile, or not yet what it will be
        return {}
    return {}


def test_the_user_data_has_no_aws_key_and_nothing_of_the_developers(
    park: Park, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVELOPERS_SECRET", "developers")
    (instance_id,) = park.launch()
    eventually(lambda: len(park.host.guests) == 1)
    (guest,) = park.host.guests
    eventually(lambda: "FLEET_WORK_DIR" in environment_of_user_data(guest.keeper.pid))
    environment = environment_of_user_data(guest.keeper.pid)
    assert {name for name in environment if name.startswith("AWS_")} == {
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_ENDPOINT_URL",
    } | ({"AWS_REGION"} & environment.keys())
    assert "developers" not in environment.values()
    assert instance_id in environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"]


def test_terminating_the_instance_kills_the_guest(park: Park) -> None:
    (instance_id,) = park.launch()
    park.equip(instance_id, BUSY)
    eventually(lambda: park.is_in(instance_id, "busy"), within_s=30)
    assert park.host.processes() >= 3
    park.terminate(instance_id)
    eventually(lambda: park.host.guests == ())
    assert park.is_in(instance_id, "busy")  # no time for a last report


def test_a_spot_notice_reaches_the_job_and_then_takes_the_machine(park: Park) -> None:
    (instance_id,) = park.launch()
    park.equip(instance_id, BUSY)
    eventually(lambda: park.is_in(instance_id, "busy"), within_s=30)
    park.host.inject_spot_notice(instance_id, in_s=40)
    eventually(lambda: park.is_in(instance_id, "done"), within_s=30)
    report = park.report(instance_id)
    assert report is not None
    assert report.outcome == "interrupted"
    assert "spot_notice" in [step.name for step in report.steps]
    eventually(lambda: park.ec2_state(instance_id) == "terminated")


def test_a_machine_is_gone_when_its_notice_is_due(park: Park) -> None:
    (instance_id,) = park.launch()
    eventually(lambda: len(park.host.guests) == 1)
    park.host.inject_spot_notice(instance_id, in_s=0)
    eventually(lambda: park.ec2_state(instance_id) == "terminated")
    eventually(lambda: park.host.guests == ())


def test_a_killed_guest_reports_nothing(park: Park) -> None:
    (instance_id,) = park.launch()
    park.equip(instance_id, BUSY)
    eventually(lambda: park.is_in(instance_id, "busy"), within_s=30)
    park.host.kill(instance_id)
    assert park.host.processes() == 0
    assert [guest.state for guest in park.host.guests] == [GuestState.LOST]
    assert park.ec2_state(instance_id) == "running"
    park.terminate(instance_id)
    eventually(lambda: park.host.guests == ())


def test_a_frozen_guest_has_no_heartbeat(park: Park) -> None:
    (instance_id,) = park.launch()
    park.equip(instance_id, BUSY)
    eventually(lambda: park.is_in(instance_id, "busy"), within_s=30)

    def heartbeat() -> datetime | None:
        report = park.report(instance_id)
        return report.heartbeat_at if report else None

    park.host.freeze(instance_id)
    before = heartbeat()
    after = {heartbeat() for _ in range(50)}
    assert len(after) <= 2  # a report may have been under way
    assert [guest.state for guest in park.host.guests] == [GuestState.FROZEN]
    park.host.thaw(instance_id)
    eventually(lambda: heartbeat() not in {*after, before})


def test_an_instance_of_another_stack_has_no_guest(park: Park) -> None:
    other = park.engine.client("ec2").run_instances(ImageId="ami-1", MinCount=1, MaxCount=1)
    (ours,) = park.launch()
    eventually(lambda: len(park.host.guests) == 1)
    assert [guest.instance_id for guest in park.host.guests] == [ours]
    park.terminate(other["Instances"][0]["InstanceId"])


def test_an_unknown_guest_is_refused(park: Park) -> None:
    for act in (park.host.kill, park.host.freeze, park.host.thaw):
        with pytest.raises(Refused, match="no such guest"):
            act("i-0")


def test_the_role_of_a_guest_is_the_machines(park: Park) -> None:
    """The mailbox id is the role session's: a guest that asks for another's is refused."""
    (instance_id,) = park.launch()
    eventually(lambda: len(park.host.guests) == 1)
    (guest,) = park.host.guests
    page = guest.metadata.find(f"meta-data/iam/security-credentials/{guest.metadata.role}")
    assert page is not None
    keys = json.loads(page)
    assert keys["Code"] == "Success"
    assert datetime.fromisoformat(keys["Expiration"]) > datetime.now(UTC) + timedelta(minutes=30)
    assert guest.metadata.tags["runner-fleet:stack"] == park.stack.name
    assert guest.metadata.instance_id == instance_id
