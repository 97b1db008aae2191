"""The template's user data: it ends the machine on every way out, and says in its mailbox why."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from boto3.dynamodb.types import TypeDeserializer

from adapters.guest.process_tree import send
from fleet.machine.mailbox import MachineState, Report
from fleet.steps import Outcome, StepName
from local.loopback import Answerer, LoopbackServer
from local.machines.imds import ImdsServer, InstanceMetadata
from tests.integration.metadata import instance
from tests.integration.runs import eventually
from tests.unit.infra.documents import user_data

REGISTRY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
IMAGE = f"{REGISTRY}/fleet/ec2@sha256:{'a' * 64}"
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIA1",
    "AWS_SECRET_ACCESS_KEY": "a/secret+key",
    "AWS_SESSION_TOKEN": "session/token==",
}
PASSWORD = "QVdTOnBhc3N3b3Jk"
# All that the user data needs of a machine image besides bash, curl and Docker.
TOOLS = """
    bash cat chmod cut date env grep head mkdir mv printf rm sed seq setsid sleep sort tail tee
    timeout touch tr uname cp
"""
ENGINE = {"version": "exit 0", "image": "exit 1", "pull": "exit 0"}


@dataclass(slots=True)
class Aws(LoopbackServer):
    """Answers for every service, and keeps what it was asked."""

    calls: list[tuple[str, str, str]] = field(default_factory=list)  # target, body, authorization

    def __post_init__(self) -> None:
        LoopbackServer.__init__(self, type("Answerer", (_Answerer,), {"aws": self}))


class _Answerer(Answerer):
    aws: Aws

    def do_POST(self) -> None:  # noqa: N802  the name http.server asks for
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        target = self.headers["X-Amz-Target"].rpartition(".")[2]
        self.aws.calls.append((target, body, self.headers["Authorization"]))
        data = [{"authorizationToken": PASSWORD, "proxyEndpoint": f"https://{REGISTRY}"}]
        answer = {"authorizationData": data} if target == "GetAuthorizationToken" else {}
        self.answer(200, json.dumps(answer).encode(), "application/json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Booting:
    """A machine whose programs are scripts that keep their calls; its agent is one of them."""

    folder: Path
    imds: ImdsServer
    aws: Aws

    def start(
        self, agent: str = "exit 0", *, executor: str = "docker", **docker: str
    ) -> subprocess.Popen[bytes]:
        """Boot it. `docker`: a script for each of its commands; capitals: more environment."""
        environment = {name: text for name, text in docker.items() if name.isupper()}
        engine = ENGINE | {name: text for name, text in docker.items() if name.islower()}
        cases = "\n".join(f"{name}) {text} ;;" for name, text in {**engine, "run": agent}.items())
        programs = {
            "poweroff": 'echo "off $*" >>$BASE/off',
            "systemctl": "test -s $FLEET_DEAD_MAN && echo $* >>$BASE/units",
            "curl": f'printf "%s\\n" "$@" >>$BASE/arguments; exec {shutil.which("curl")} "$@"',
            "docker": f"""
                echo "$*" >>$BASE/docker
                cat "$DOCKER_CONFIG/config.json" >>$BASE/logins 2>/dev/null
                case $1 in
                {cases}
                esac
            """,
        }
        for name, text in programs.items():
            file = self.folder / "bin" / name
            file.write_text(f"#!/usr/bin/env bash\n{text}\n")
            file.chmod(0o755)
        if environment.pop("NO_DOCKER", None):
            (self.folder / "bin/docker").unlink()
        script = self.folder / "user-data"
        script.write_text(
            user_data(
                **{"AWS::Region": "eu-central-1", "MachineRole.RoleId": "AROA1", "Ec2Image": IMAGE},
                Ec2ImageArm64=IMAGE,
                Mailboxes="mailboxes",
            )
        )
        usual = {
            "PATH": str(self.folder / "bin"),
            "BASE": str(self.folder),
            "FLEET_WORK_DIR": str(self.folder / "work"),
            "FLEET_DEAD_MAN_S": "300",
            "FLEET_DEAD_MAN_EVERY_S": "0.05",
            "FLEET_RETRY_S": "0",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.imds.add(machine(executor)),
            "AWS_ENDPOINT_URL": self.aws.url,
        }
        with (self.folder / "console").open("ab") as console:
            return subprocess.Popen(
                ["/bin/bash", str(script)],
                env=usual | environment,
                cwd=self.folder,
                start_new_session=True,
                stdout=console,
                stderr=subprocess.STDOUT,
            )

    def lines(self, name: str) -> list[str]:
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []

    @property
    def off(self) -> list[str]:
        """How `poweroff` was called."""
        return self.lines("off")

    @property
    def run(self) -> str:
        (call,) = [line for line in self.lines("docker") if line.startswith("run ")]
        return call

    def report(self) -> Report:
        """The only report, as the fleet reads it."""
        (body,) = [json.loads(body) for name, body, _ in self.aws.calls if name == "UpdateItem"]
        assert body["TableName"] == "mailboxes"
        assert body["Key"] == {"pk": {"S": "AROA1:i-1"}, "sk": {"S": "report"}}
        read = TypeDeserializer().deserialize
        values = {name: read(value) for name, value in body["ExpressionAttributeValues"].items()}
        names = body["ExpressionAttributeNames"]
        pairs = re.findall(r"(#\w)=(:\w)", body["UpdateExpression"])
        item = {names[name]: values[value] for name, value in pairs}
        return Report.of_item({**item, "steps": values[":l"]})

    def timers(self) -> list[int]:
        """The processes that wait to power off."""
        timers = []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"BASE={self.folder}\0".encode() in entry.read_bytes():
                    timers.append(int(entry.parent.name))
            except OSError:
                continue
        return timers

    def has_timer(self, session: int) -> bool:
        """Whether a timer has a session of its own; before that it is a copy of the script."""
        for pid in self.timers():
            with suppress(ProcessLookupError):
                if os.getsid(pid) != session:
                    return True
        return False


def machine(executor: str) -> InstanceMetadata:
    tags = {"runner-fleet:executor": executor}
    return instance(tags=tags, user_data="", role_keys=lambda: SECRETS)


@pytest.fixture
def booting(tmp_path: Path) -> Iterator[Booting]:
    (tmp_path / "bin").mkdir()
    for tool in TOOLS.split():
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    with ImdsServer() as imds, Aws() as aws:
        machine = Booting(folder=tmp_path, imds=imds, aws=aws)
        yield machine
        for pid in machine.timers():
            send(pid, signal.SIGKILL)


@pytest.mark.parametrize("agent", ["exit 0", "exit 7", "kill -9 $$"])
def test_the_machine_powers_off_however_the_agent_ends(booting: Booting, agent: str) -> None:
    booting.start(agent).wait(20)
    assert booting.off == ["off "]


def test_the_machine_powers_off_on_sigterm(booting: Booting) -> None:
    process = booting.start("touch $BASE/up; exec sleep 300")
    eventually((booting.folder / "up").exists)
    eventually(lambda: booting.has_timer(process.pid))
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(20)
    assert booting.off == ["off "]


def test_the_image_is_pulled_by_its_digest_with_the_machines_own_login(booting: Booting) -> None:
    booting.start("echo 'all went well'").wait(20)
    assert f"pull {IMAGE}" in booting.lines("docker")
    assert booting.run.endswith(IMAGE)
    (target, _, authorization), *more = booting.aws.calls
    assert (target, more) == ("GetAuthorizationToken", [])
    assert "Credential=AKIA1/" in authorization
    assert "/eu-central-1/ecr/" in authorization
    (login,) = {json.dumps(json.loads(line)) for line in booting.lines("logins")}
    assert json.loads(login) == {"auths": {REGISTRY: {"auth": PASSWORD}}}
    assert not (booting.folder / "work/login").exists()
    assert "all went well" in booting.lines("console")


def test_no_secret_is_an_argument_of_a_program(booting: Booting) -> None:
    booting.start("exit 7").wait(20)
    arguments = "\n".join(booting.lines("arguments") + booting.lines("docker"))
    assert "sigv4" in arguments
    assert not [name for name, value in SECRETS.items() if value in arguments]
    assert PASSWORD not in arguments


def test_the_agent_of_ecs_is_stopped_once_the_timer_runs(booting: Booting) -> None:
    booting.start().wait(20)
    assert booting.lines("units")[0] == "disable --now --no-block ecs"


def test_an_image_that_is_there_is_not_pulled(booting: Booting) -> None:
    booting.start(image="exit 0").wait(20)
    assert booting.lines("docker") == ["version", "version", f"image inspect {IMAGE}", booting.run]
    assert booting.aws.calls == []


def test_a_pull_that_fails_is_tried_again(booting: Booting) -> None:
    booting.start(pull="test -e $BASE/tried || { touch $BASE/tried; exit 1; }").wait(20)
    assert booting.lines("docker").count(f"pull {IMAGE}") == 2
    assert booting.run


def test_a_docker_pool_gets_the_engine_and_a_shell_pool_does_not(booting: Booting) -> None:
    booting.start().wait(20)
    assert "--volume /var/run/docker.sock:/var/run/docker.sock" in booting.run
    assert "--read-only" in booting.run
    assert "--network host" in booting.run
    assert "--env FLEET_MAILBOX_TABLE " in booting.run
    (booting.folder / "docker").unlink()
    booting.start(executor="shell").wait(20)
    assert "docker.sock" not in booting.run


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        pytest.param({"NO_DOCKER": "1"}, "this machine image has no Docker", id="no-docker"),
        pytest.param(
            {"version": "echo 'Cannot connect' >&2; exit 1", "FLEET_ENGINE_TRIES": "2"},
            "the Docker engine does not answer: Cannot connect",
            id="dead-engine",
        ),
        pytest.param(
            {"pull": r"""echo 'denied: "no" access to \repository' >&2; exit 1"""},
            r'the image cannot be pulled: denied: "no" access to \repository',
            id="refused-pull",
        ),
        pytest.param(
            {"agent": "echo 'exec format error' >&2; exit 126"},
            "the agent cannot start: exec format error",
            id="no-start",
        ),
        pytest.param(
            {"agent": "echo 'Traceback'; echo 'KeyError: 1'; exit 3"},
            "the agent ended with code 3: KeyError: 1",
            id="crash",
        ),
    ],
)
def test_the_mailbox_says_why_the_machine_runs_no_job(
    booting: Booting, settings: dict[str, str], why: str
) -> None:
    booting.start(**settings).wait(60)
    report = booting.report()
    assert (report.state, report.outcome) == (MachineState.DONE, Outcome.SYSTEM_FAILURE)
    assert report.detail == why
    assert [(step.name, step.detail) for step in report.steps] == [(StepName.BOOT_FAILED, why)]
    assert booting.off == ["off "]


def test_a_machine_without_an_identity_powers_off(booting: Booting) -> None:
    booting.start(AWS_EC2_METADATA_SERVICE_ENDPOINT=f"{booting.aws.url}/none").wait(60)
    assert booting.off == ["off "]
    assert "the instance metadata gives this machine no identity" in booting.lines("console")[-1]


def test_the_timer_ends_a_machine_that_hangs(booting: Booting) -> None:
    process = booting.start("trap '' TERM; sleep 300", FLEET_DEAD_MAN_S="1")
    eventually(lambda: booting.off == ["off -f"])
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_the_timer_outlives_the_script(booting: Booting) -> None:
    process = booting.start("sleep 300", FLEET_DEAD_MAN_S="2")
    eventually(lambda: booting.has_timer(process.pid))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    eventually(lambda: booting.off == ["off -f"])


@pytest.mark.parametrize(
    "then",
    [
        pytest.param('echo 0 >"$FLEET_DEAD_MAN"', id="by a new time in the file"),
        pytest.param(
            'echo $(($(date +%s) + 1)) >"$FLEET_DEAD_MAN"; sleep 0.3; rm "$FLEET_DEAD_MAN"',
            id="by the last time it read when the file is gone",
        ),
    ],
)
def test_the_agent_sets_the_timer(booting: Booting, then: str) -> None:
    process = booting.start(f"{then}; sleep 300")
    eventually(lambda: booting.off == ["off -f"])
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_the_timer_follows_the_file_to_a_later_time(booting: Booting) -> None:
    agent = """
        ends_in() {
            echo $(($(date +%s) + $1)) >"$FLEET_DEAD_MAN.new"
            mv "$FLEET_DEAD_MAN.new" "$FLEET_DEAD_MAN"
        }
        ends_in 4; sleep 0.3; ends_in 300
        sleep 4.5; cp $BASE/off $BASE/too-early 2>/dev/null
        exit 0
    """
    booting.start(agent).wait(60)
    assert booting.off == ["off "]
    assert not (booting.folder / "too-early").exists()
