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
from local.machines.boot import GuestOptions, GuestState
from local.machines.guests import GuestHost
from tests.integration import runs
from tests.integration.runs import BUSY, JOB, Mailboxes, credential, eventually


@dataclass(frozen=True, slots=True)
class ContainerSettings:
    """The engine, a host, and the fleet's part."""

    engine: Engine
    stack: Stack
    host: GuestHost
    folder: Path

    def launch(self, count: int = 1) -> list[str]:
        """Instances as the fleet launches them."""
        tags = [{"Key": "runner-fleet:stack", "Value": self.stack.name}]
        template = {"LaunchTemplateId": self.stack.launch_template, "Version": "$Latest"}
        capacity = {"TotalTargetCapacity": count, "DefaultTargetCapacityType": "spot"}
        made = self.engine.client("ec2").create_fleet(
            Type="instant",
            LaunchTemplateConfigs=[{"LaunchTemplateSpecification": template}],
            TargetCapacitySpecification=capacity,
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )
        return [name for group in made["Instances"] for name in group["InstanceIds"]]

    def equip(self, instance_id: str, script: list[Any], **changes: Any) -> None:
        """Put a credential for a script into the machine's mailbox."""
        own_credential = credential(script, self.folder, **changes)
        self._mailboxes.equip(self._mailbox(instance_id), own_credential)

    def busy(self) -> str:
        """A new instance whose job runs."""
        (instance_id,) = self.launch()
        self.equip(instance_id, BUSY)
        eventually(lambda: self.is_in(instance_id, "busy"), within_s=30)
        return instance_id

    def wait_for(self, instance_id: str, state: str) -> None:
        """Wait until EC2 shows this state."""
        eventually(lambda: self.ec2_state(instance_id) == state, within_s=30)

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
    machine_ids = [
        instance["InstanceId"] for group in reservations for instance in group["Instances"]
    ]
    if machine_ids:
        engine.client("ec2").terminate_instances(InstanceIds=machine_ids)


@pytest.fixture
def park(engine: Engine, stack: Stack, tmp_path: Path) -> Iterator[ContainerSettings]:
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
        used = ContainerSettings(engine, stack, host, tmp_path)
        yield used
        for guest in host.guests:
            used.terminate(guest.instance_id)
    assert host.processes() == 0


def test_machines_boot_serve_their_own_credential_report_and_are_gone(
    park: ContainerSettings,
) -> None:
    both = park.launch(2)
    for instance_id, name in zip(both, ("rf-one", "rf-two"), strict=True):
        park.equip(instance_id, JOB, runner_id=name)
    for instance_id, name in zip(both, ("rf-one", "rf-two"), strict=True):
        park.wait_for(instance_id, "terminated")
        report = park.report(instance_id)
        assert report is not None
        assert (report.runner_id, report.state, report.outcome) == (name, "done", "succeeded")
        assert report.job_id == 101
        assert [step.name.value for step in report.steps] == [
            *("called_home", "credential_read", "exposed", "job_taken", "first_output"),
            *("job_finished", "used", "runner_exited", "ended"),
        ]
        assert "runner-fleet agent: succeeded" in park.host.console(instance_id)
    eventually(lambda: park.host.guests == ())
    assert not any((park.folder / "guests" / instance_id).exists() for instance_id in both)


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


def test_a_guest_has_the_machine_s_role_and_nothing_of_the_developers(
    park: ContainerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mailbox id is the role session's: a guest that asks for another's is refused."""
    monkeypatch.setenv("DEVELOPERS_SECRET", "developers")
    other = park.engine.client("ec2").run_instances(ImageId="ami-1", MinCount=1, MaxCount=1)
    (instance_id,) = park.launch()
    eventually(lambda: len(park.host.guests) == 1)
    (guest,) = park.host.guests  # the instance of another stack has none
    page = guest.metadata.find(f"meta-data/iam/security-credentials/{guest.metadata.role}")
    assert page is not None
    keys = json.loads(page)
    assert keys["Code"] == "Success"
    assert datetime.fromisoformat(keys["Expiration"]) > datetime.now(UTC) + timedelta(minutes=30)
    assert guest.metadata.tags["runner-fleet:stack"] == park.stack.name
    assert guest.metadata.instance_id == guest.instance_id == instance_id
    eventually(lambda: "FLEET_WORK_DIR" in environment_of_user_data(guest.keeper.pid))
    environment = environment_of_user_data(guest.keeper.pid)
    assert {name for name in environment if name.startswith("AWS_")} == {
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_ENDPOINT_URL",
    } | ({"AWS_REGION"} & environment.keys())
    assert "developers" not in environment.values()
    assert instance_id in environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"]
    park.host.inject_spot_notice(instance_id, in_s=0)  # due at once
    park.wait_for(instance_id, "terminated")
    eventually(lambda: park.host.guests == ())
    park.terminate(other["Instances"][0]["InstanceId"])


def test_a_frozen_guest_has_no_heartbeat_and_a_spot_notice_reaches_its_job(
    park: ContainerSettings,
) -> None:
    instance_id = park.busy()

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
    park.host.inject_spot_notice(instance_id, in_s=40)
    eventually(lambda: park.is_in(instance_id, "done"), within_s=30)
    report = park.report(instance_id)
    assert report is not None
    assert report.outcome == "interrupted"
    assert "spot_notice" in [step.name for step in report.steps]
    park.wait_for(instance_id, "terminated")


def test_a_guest_that_is_ended_or_killed_reports_nothing(park: ContainerSettings) -> None:
    ended, killed = park.busy(), park.busy()
    assert park.host.processes() >= 6
    park.terminate(ended)
    eventually(lambda: [guest.instance_id for guest in park.host.guests] == [killed])
    park.host.kill(killed)
    assert park.host.processes() == 0
    assert [guest.state for guest in park.host.guests] == [GuestState.LOST]
    assert park.ec2_state(killed) == "running"
    park.terminate(killed)
    eventually(lambda: park.host.guests == ())
    assert park.is_in(ended, "busy")
    assert park.is_in(killed, "busy")
    for act in (park.host.kill, park.host.freeze, park.host.thaw):
        with pytest.raises(Refused, match="no such guest"):
            act("i-0")
