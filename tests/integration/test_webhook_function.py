"""From `webhook register` to the event on the bus: the real command, template and function."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from fleet.job_event import JobEvent
from local.aws.engine import Engine, wait_until
from local.aws.stack import Stack, StackOptions, deploy_stack
from local.gitlab.seed import create_project, push_files
from local.gitlab.server import SimulatorServer

STACK = "hooked"
CI = "unit: {script: 'true', tags: [docker]}\n"


@dataclass(frozen=True, kw_only=True)
class Site:
    """A GitLab, a deployed fleet, and a queue that hears everything on its bus."""

    engine: Engine
    stack: Stack
    server: SimulatorServer
    queue_url: str

    def command(self, *arguments: str) -> str:
        """What `runner-fleet webhook` printed."""
        environment = {
            **self.engine.environment(),
            "PATH": os.environ["PATH"],
            "GITLAB_TOKEN": self.server.root_token,
            "GITLAB_URL": self.server.url,
            "RUNNER_FLEET_STACK": STACK,
        }
        done = subprocess.run(
            [sys.executable, "-m", "cli", "webhook", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def secret(self, scope: str) -> list[str]:
        """The signing tokens of a webhook, newest first."""
        found = self.engine.client("secretsmanager").get_secret_value(
            SecretId=self.stack.webhook_secret
        )
        hooks = json.loads(found["SecretString"])["hooks"]
        (own,) = [each for name, each in hooks.items() if name.startswith(f"{scope}@")]
        return list(own["signing"])

    def events(self, project_id: int, count: int) -> list[JobEvent]:
        """So many events of a project, as they came on the bus."""
        seen: list[JobEvent] = []

        def look() -> bool:
            answer = self.engine.client("sqs").receive_message(
                QueueUrl=self.queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=1
            )
            for message in answer.get("Messages", []):
                body = json.loads(message["Body"])
                event = JobEvent.from_detail(body["detail"])
                assert (body["source"], body["detail-type"]) == (
                    "runner-fleet.webhook",
                    event.detail_type,
                )
                if event.project_id == project_id:
                    seen.append(event)
            return len(seen) >= count

        wait_until(look, timeout_s=30, what=f"{count} events", log=self.engine.log)
        return seen


@pytest.fixture(scope="module")
def site(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    stack = deploy_stack(engine, StackOptions(name=STACK))
    sqs, events = engine.client("sqs"), engine.client("events")
    queue_url = sqs.create_queue(QueueName="everything")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]
    pattern = json.dumps({"source": ["runner-fleet.webhook"]})
    events.put_rule(Name="everything", EventBusName=stack.bus, EventPattern=pattern)
    events.put_targets(
        Rule="everything",
        EventBusName=stack.bus,
        Targets=[{"Id": "queue", "Arn": arn["QueueArn"]}],
    )
    with SimulatorServer(tmp_path_factory.mktemp("gitlab")) as server:
        yield Site(engine=engine, stack=stack, server=server, queue_url=queue_url)


def test_a_job_of_a_registered_project_is_on_the_bus(site: Site) -> None:
    project = create_project(site.server.url, site.server.root_token, "acme/demo", {})
    told = site.command("register", "--project", "acme/demo")
    assert told.startswith("registered: hook 1 on project:1, signing token")
    (signing,) = site.secret("project:1")
    assert signing not in told

    push_files(project.clone_url, {".gitlab-ci.yml": CI}, message="Add a job")
    created, pending = sorted(site.events(project.id, 2), key=lambda event: event.status)
    assert (created.status, pending.status) == ("created", "pending")
    assert (pending.job_name, pending.project_path) == ("unit", "acme/demo")
    assert site.server.url.endswith(pending.instance)

    # the ledger knows the hook, and a second registration changes nothing
    row = site.engine.client("dynamodb").get_item(
        TableName=site.stack.ledger_table,
        Key={"pk": {"S": f"hook#{pending.instance}#project:1"}, "sk": {"S": "hook"}},
    )["Item"]
    assert row["hook_id"]["N"] == "1"
    assert row["verification"]["S"] == "signing-token"
    told = site.command("register", "--project", "acme/demo")
    assert told.startswith("already registered, nothing changed")
    assert site.secret("project:1") == [signing]

    # after a rotation the very next delivery is accepted, whatever the function has cached
    site.command("register", "--project", "acme/demo", "--rotate")
    assert site.secret("project:1")[1] == signing
    assert site.command("test", "--project", "acme/demo").startswith("accepted")
    (sample,) = site.events(project.id, 1)
    assert sample.job_id == pending.job_id
    assert site.command("list", "--project", "acme/demo").split("\t")[1] == "executable"


def test_what_does_not_come_from_gitlab_is_turned_away(site: Site) -> None:
    create_project(site.server.url, site.server.root_token, "acme/forged", {})
    site.command("register", "--project", "acme/forged")
    hook = max(site.server.world.hooks.by_id.values(), key=lambda hook: hook.id)
    hook.signing_token = "whsec_HR4fAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxw="
    push_files(
        create_project(site.server.url, site.server.root_token, "acme/other", {}).clone_url,
        {".gitlab-ci.yml": CI},
        message="Not hooked",
    )
    project = site.server.world.accounts.project("acme/forged")
    assert project is not None
    url = (
        f"{site.server.url.replace('://', f'://oauth2:{site.server.root_token}@')}/acme/forged.git"
    )
    push_files(url, {".gitlab-ci.yml": CI}, message="Add a job")
    wait_until(
        lambda: len(hook.deliveries) >= 2, timeout_s=30, what="deliveries", log=site.engine.log
    )
    assert {delivery.status for delivery in hook.deliveries} == {401}
    assert {delivery.answer for delivery in hook.deliveries} == {
        '{"accepted":false,"reason":"not authorized"}'
    }
    assert hook.signing_token not in site.engine.log.read_text()
