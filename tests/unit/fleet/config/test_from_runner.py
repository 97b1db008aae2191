"""`import-config`: pools from gitlab-runner's config.toml, and what becomes of each line."""

import tomllib
from typing import Any

import pytest
from hypothesis import given, strategies as st

from fleet.config.from_runner import Carry, Proposal, propose
from fleet.errors import Refused

SECRETS = ("glrt-abcdefghijklmnopqrst", "hunter2hunter2", "opensesame", "wJalrXUtnFEMI", "AKIAIOSF")


def runner(keys: str, executor: str = "docker+machine") -> str:
    return f"""
concurrent = 30
[[runners]]
name = "CI / Großes Haus"
url = "https://gitlab.example.com/"
token = "glrt-abcdefghijklmnopqrst"
executor = "{executor}"
{keys}
"""


def pool_of(proposal: Proposal) -> dict[str, Any]:
    (pool,) = tomllib.loads(proposal.text)["pools"].values()
    return dict(pool)


MACHINE = "[runners.machine]\nMachineOptions = [{}]"


@pytest.mark.parametrize(
    ("executor", "keys", "expected"),
    [
        ("docker+machine", "limit = 12", {"ceiling": 12, "backend": "ec2"}),
        ("docker+machine", "limit = 0", {"ceiling": 30}),
        ("docker+machine", "limit = 99", {"ceiling": 30}),
        ("instance", "", {"executor": "shell", "market": "on-demand"}),
        ("shell", "[runners.docker]\nimage = 'a'", {"executor": "shell", "docker": None}),
        ("docker", "[runners.docker]\nimage = 'ruby:3'", {"docker": {"image": "ruby:3"}}),
        (
            "docker",
            "[runners.docker]\nprivileged = true\ncpus = '1.5'\nmemory = '2Gb'\n"
            "pull_policy = 'always'\nvolumes = ['/cache', '/var/run/docker.sock:/x', '/a:/b']",
            {
                "docker": {
                    "privileged": True,
                    "cpus": 1.5,
                    "memory": "2g",
                    "pull_policy": "always",
                    "socket": True,
                    "volumes": ["/a:/b"],
                }
            },
        ),
        (
            "docker",
            "environment = ['A=1', 'API_TOKEN=hunter2hunter2', 'X_AUTH_CONFIG=opensesame', '=']",
            {"env": {"A": "1"}},
        ),
        ("docker", "[runners.feature_flags]\nFF_X = true", {"env": {"FF_X": "true"}}),
        (
            "docker+machine",
            MACHINE.format(
                "'amazonec2-instance-type=m5.large','amazonec2-request-spot-instance=true',"
                "'amazonec2-root-size=60','amazonec2-ami=ami-0a1b2c3d','amazonec2-access-key=AKIAIOSF',"
                "'amazonec2-subnet-id=subnet-0a1b2c3d','amazonec2-secret-key=wJalrXUtnFEMI',"
                "'engine-registry-mirror=https://m.example.com','amazonec2-spot-price=0.1'"
            ),
            {
                "instance_types": ["m5.large"],
                "market": "spot-then-on-demand",
                "disk_gb": 60,
                "image": "ami-0a1b2c3d",
                "subnets": ["subnet-0a1b2c3d"],
                "docker": {"registry_mirror": "https://m.example.com"},
            },
        ),
        (
            "docker+machine",
            "[runners.machine]\nIdleCount = 2\nIdleTime = 600\n"
            "OffPeakPeriods = ['* * 0-6 * * * *']\nOffPeakIdleCount = 0\n"
            "OffPeakTimezone = 'Europe/Berlin'",
            {
                "idle": {
                    "count": 0,
                    "idle_time": "600s",
                    "schedule": [
                        {
                            "days": "mon-sun",
                            "from": "07:00",
                            "to": "24:00",
                            "timezone": "Europe/Berlin",
                            "count": 2,
                        }
                    ],
                }
            },
        ),
        (
            "docker-autoscaler",
            "[runners.autoscaler]\nmax_instances = 5\ncapacity_per_instance = 2\n"
            "[runners.autoscaler.connector_config]\npassword = 'opensesame'\n"
            "[[runners.autoscaler.policy]]\nidle_count = 3\nidle_time = '20m0s'",
            {"ceiling": 10, "idle": {"count": 3, "idle_time": "1200s"}},
        ),
    ],
)
def test_what_carries_over(executor: str, keys: str, expected: dict[str, Any]) -> None:
    proposal = propose(runner(keys, executor))
    pool = pool_of(proposal)
    assert {key: pool.get(key) for key in expected} == expected
    text = proposal.text + "".join(line.note for line in proposal.lines)
    assert not [secret for secret in SECRETS if secret in text]
    assert proposal.pools == ("ci-gro-es-haus",)


@pytest.mark.parametrize(
    "executor", ["kubernetes", "custom", "ssh", "parallels", "virtualbox", "docker-windows", "new"]
)
def test_an_executor_without_a_pool_has_a_line(executor: str) -> None:
    proposal = propose(runner("", executor))
    assert proposal.pools == ()
    (line,) = [line for line in proposal.lines if line.key == "runners.executor"]
    assert (line.result, line.line) == (Carry.LEFT_OUT, 7)
    assert "pool" in line.note


def test_each_key_has_its_line_and_another_gitlab_has_no_pool() -> None:
    text = runner("limit = 3\nshm_size = 1") + runner("").replace("gitlab.example", "other.example")
    proposal = propose(text)
    assert len(proposal.pools) == 1
    by_line = {line.line: line for line in proposal.lines}
    assert by_line[8].note == "ceiling"
    assert by_line[9].result is Carry.LEFT_OUT
    assert "another stack" in by_line[14].note


def test_what_validate_would_refuse_is_for_the_person() -> None:
    proposal = propose(runner("[runners.machine]\nIdleCount = 40"))
    warnings = {line.key: line.note for line in proposal.lines if line.line == 0}
    (note,) = [note for key, note in warnings.items() if key.endswith("idle.count")]
    assert "30 or less" in note


def test_warm_machines_need_an_owner_that_the_file_does_not_name() -> None:
    proposal = propose(runner("[runners.machine]\nIdleCount = 2"))
    (warning,) = [line for line in proposal.lines if line.line == 0]
    assert warning.key.endswith(".idle")
    assert '"group:<number>"' in warning.note


@pytest.mark.parametrize("text", ["", "a = 1", "[gitlab]\nurl = 'x'", "no toml", "[runners]\na=1"])
def test_another_file_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        propose(text)


VALUES = st.recursive(
    st.sampled_from(["1", "true", "'x'", "-5", "99999999999", "1979-05-27", "'* * * * *'", "''"]),
    lambda inner: st.lists(inner, max_size=3).map(lambda each: f"[{', '.join(each)}]"),
    max_leaves=4,
)
KEYS = [
    *("name", "url", "limit", "environment", "tls-ca-file", "cache", "docker", "machine"),
    *("docker.volumes", "docker.pull_policy", "docker.cpus", "docker.memory", "docker.image"),
    *("machine.IdleCount", "machine.MachineOptions", "machine.autoscaling", "autoscaler.policy"),
    *("machine.OffPeakPeriods", "autoscaler.max_instances", "autoscaler", "cache.s3"),
]


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6))
def test_no_value_of_another_kind_breaks_it(keys: dict[str, str]) -> None:
    lines = [f"{key} = {value}" for key, value in keys.items()]
    text = "[[runners]]\nexecutor = 'docker'\n" + "\n".join(lines)
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:  # a key below a value
        return
    tomllib.loads(propose(text).text)


EVERYTHING = """
concurrent = 4
check_interval = 3
[[runners]]
name = "a"
url = "https://gitlab.example.com"
token = "glrt-abcdefghijklmnopqrst"
executor = "docker+machine"
[runners.feature_flags]
FF_NETWORK_PER_BUILD = true
not_a_flag = true
[runners.docker]
privileged = false
volumes = ["glrt-abcdefghijklmnopqrst:/x", "/a:/b"]
[runners.cache]
Type = "gcs"
Shared = true
[runners.cache.gcs]
BucketName = "old"
PrivateKey = "opensesame"
[runners.machine]
IdleCount = 1
MachineName = "auto-%s"
[[runners.machine.autoscaling]]
Periods = ["* * 9-17 * * mon-fri *"]
IdleCount = 5
Timezone = "Local"
[[runners]]
name = "a"
url = "https://gitlab.example.com"
executor = "docker-autoscaler"
[runners.cache]
Type = "s3"
[runners.autoscaler]
max_instances = 7
capacity_per_instance = 2
[[runners.autoscaler.policy]]
idle_count = 2
idle_time = "half an hour"
scale_factor = 1.5
"""


def test_what_becomes_of_each_line() -> None:
    proposal = propose(EVERYTHING)
    first, second = tomllib.loads(proposal.text)["pools"].values()
    assert proposal.pools == ("a", "a-2")
    assert first["docker"] == {"volumes": ["/a:/b"]}
    assert first["env"] == {"FF_NETWORK_PER_BUILD": "true"}
    (window,) = first["idle"]["schedule"]
    assert (first["idle"]["count"], window["count"], window["timezone"]) == (1, 5, "UTC")
    assert (second["ceiling"], second["idle"]) == (4, {"count": 2})
    results = {(line.key, line.result) for line in proposal.lines}
    assert results >= {
        ("check_interval", Carry.LEFT_OUT),
        ("runners.docker.privileged", Carry.KEPT),
        ("runners.docker.volumes", Carry.LEFT_OUT),  # the secret
        ("runners.docker.volumes", Carry.KEPT),
        ("runners.cache", Carry.LEFT_OUT),  # gcs
        ("runners.cache", Carry.CHANGED),  # s3
        ("runners.cache.Shared", Carry.LEFT_OUT),
        ("runners.cache.gcs.BucketName", Carry.LEFT_OUT),
        ("runners.machine.MachineName", Carry.LEFT_OUT),
        ("runners.machine", Carry.CHANGED),  # the manager's own time zone
        ("runners.autoscaler.policy.scale_factor", Carry.LEFT_OUT),
    }
    keys = [line.note for line in proposal.lines if line.key == "runners.cache.gcs.PrivateKey"]
    assert keys == ["machines get keys of their own"]
    assert "glrt" not in proposal.text
    assert "opensesame" not in str(proposal)


def test_a_schedule_of_too_many_windows_is_left_to_the_person() -> None:
    periods = [
        f"* {minute} {hour} * * {day} *"
        for day in ("mon", "wed", "fri")
        for hour, minute in ((hour, "0-29") for hour in range(24))
    ]
    policies = "".join(
        f"[[runners.machine.autoscaling]]\nPeriods = ['{period}']\nIdleCount = {number % 7 + 1}\n"
        for number, period in enumerate(periods)
    )
    proposal = propose(runner(f"[runners.machine]\nIdleCount = 0\n{policies}"))
    assert "schedule" not in pool_of(proposal).get("idle", {})
    assert any("write idle.schedule by hand" in line.note for line in proposal.lines)
