"""What a good `fleet.toml` becomes: values, defaults, warnings, scopes. Bad ones: the corpus."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

from fleet.config.model import PoolConfig, RunnersIn
from fleet.config.reading import ConfigError, FleetConfig, read_config
from fleet.config.values import duration_text, read_days, read_duration, read_time

MINUTE = timedelta(minutes=1)
GITLAB = '[gitlab]\nurl = "https://gitlab.example.com/"\nrunners_in = "project:7"\n'
EC2 = 'backend = "ec2"\ninstance_types = ["m7i.large", "m7a.large"]\nceiling = 5\n'


def config(*pools: str, gitlab: str = GITLAB) -> FleetConfig:
    return read_config(gitlab + "".join(f"[pools.{pool}\n" for pool in pools))


def pool(keys: str, backend: str = EC2) -> PoolConfig:
    return config(f'p]\n{backend}tags = ["a"]\n{keys}').pools[0]


@pytest.mark.parametrize(
    ("keys", "limit"),
    [
        pytest.param('max_lifetime = "8h"', 465 * MINUTE, id="the lifetime less a margin"),
        pytest.param('max_lifetime = "20m"', 10 * MINUTE, id="not below what GitLab takes"),
        pytest.param('max_job_time = "30m"', 30 * MINUTE, id="as written"),
    ],
)
def test_job_limit_follows_the_lifetime(keys: str, limit: timedelta) -> None:
    assert pool(keys).max_job_time == limit


def test_every_key_of_a_pool_arrives() -> None:
    read = pool(
        """
        run_untagged = true
        protected_only = true
        attempts = 1
        infra_retry = true
        market = "on-demand"
        subnets = ["subnet-0a1b2c3d", "subnet-0123456789abcdef0"]
        image = "resolve:ssm:/runner-fleet/image:3"
        disk_gb = 60
        executor = "docker"
        env = { HTTP_PROXY = "http://proxy:3128", A = "" }
        stalled_after = "4m"
        idle = { count = 1, idle_time = "1h" }
        docker = { image = "debian:13", privileged = true, volumes = ["/cache"], \
            registry_mirror = "https://mirror", pull_policy = "always", helper_image = "h:1", \
            cpus = 1.5, memory = "2g" }
        """.replace("        ", "").replace("\\\n", "")
    )
    assert (read.run_untagged, read.protected_only, read.infra_retry) == (True, True, True)
    assert (read.attempts, read.market, read.disk_gb) == (1, "on-demand", 60)
    assert read.subnets == ("subnet-0a1b2c3d", "subnet-0123456789abcdef0")
    assert read.image == "resolve:ssm:/runner-fleet/image:3"
    assert read.env == {"HTTP_PROXY": "http://proxy:3128", "A": ""}
    assert (read.idle.count, read.idle.idle_time) == (1, 60 * MINUTE)
    assert read.stalled_after == 4 * MINUTE
    docker = read.docker
    assert (docker.image, docker.privileged, docker.volumes) == ("debian:13", True, ("/cache",))
    assert (docker.registry_mirror, docker.pull_policy) == ("https://mirror", "always")
    assert docker.helper_image == "h:1"
    assert (docker.cpus, docker.memory) == (1.5, "2g")


def test_gitlab_table() -> None:
    extra = 'calls_per_minute = 60\nwatch = { projects = [77, "acme/demo"], groups = ["acme"] }\n'
    read = config(f'p]\n{EC2}tags = ["a"]', gitlab=GITLAB + extra).gitlab
    assert read.url == "https://gitlab.example.com"
    assert (read.credentials, read.calls_per_minute) == ("per-machine", 60)
    assert (read.watch.projects, read.watch.groups) == (("77", "acme/demo"), ("acme",))


@pytest.mark.parametrize(
    ("text", "kind", "number"),
    [
        ("instance", "instance", None),
        ("project", "project", None),
        ("project:7", "project", 7),
        ("group:42", "group", 42),
    ],
)
def test_runners_in(text: str, kind: str, number: int | None) -> None:
    gitlab = GITLAB.replace("project:7", text)
    where = config(f'p]\n{EC2}tags = ["a"]', gitlab=gitlab).gitlab.runners_in
    assert (where.kind, where.id) == (kind, number)


def test_values_made_in_python_are_taken_as_they_are() -> None:
    made = PoolConfig(name="p", backend="ec2", ceiling=1, max_lifetime=60 * MINUTE)
    assert (made.max_lifetime, made.max_job_time) == (60 * MINUTE, 45 * MINUTE)
    gitlab = config(f'p]\n{EC2}tags = ["a"]').gitlab
    again = type(gitlab).model_validate(dict(gitlab))
    assert again.runners_in == RunnersIn(kind="project", id=7)
    idle = pool('idle.schedule = [{from = "08:00", to = "24:00", timezone = "UTC", count = 1}]')
    window = idle.idle.schedule[0]
    assert (window.start, window.end, window.days) == (480 * MINUTE, 1440 * MINUTE, tuple(range(7)))
    by_python = {key: getattr(window, key) for key in ("days", "timezone", "count")}
    assert type(window).model_validate(by_python | {"from": window.start, "to": window.end})


def test_pools_keep_the_order_of_the_file_and_have_names() -> None:
    read = config(f'z]\n{EC2}tags = ["z"]\n', f'a]\n{EC2}tags = ["a"]\n', "z.idle]\ncount = 1\n")
    assert [item.name for item in read.pools] == ["z", "a"]
    assert read.pool("a") is read.pools[1]
    assert read.pool("b") is None


def test_the_version_is_that_of_the_text() -> None:
    text = f'{GITLAB}[pools.p]\n{EC2}tags = ["a"]\n'
    assert read_config(text).version == read_config(text).version
    assert read_config(text).version != read_config(text + "# comment\n").version
    assert len(read_config(text).version) == 12


def test_a_third_back_end_only_by_argument() -> None:
    text = GITLAB + '[pools.p]\nbackend = "test"\ntags = ["a"]\nceiling = 1\n'
    with pytest.raises(ConfigError, match=r'backend: must be "ec2" or "lambda" \(is "test"\)'):
        read_config(text)
    assert read_config(text, backends=("ec2", "test")).pools[0].backend == "test"


def test_the_file_is_called_what_the_caller_calls_it() -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(GITLAB + "[a]\n", name="prod.toml")
    first = caught.value.problems[-1]
    assert (first.name, first.line, first.column, first.path) == ("prod.toml", 4, 1, "a")
    assert str(first) == "prod.toml line 4: a: unknown table"


def test_scopes() -> None:
    plain = config(f'p]\n{EC2}tags = ["a"]\ninfra_retry = false')
    retrying = config(f'p]\n{EC2}tags = ["a"]\ninfra_retry = true')
    default = config(f'p]\n{EC2}tags = ["a"]')
    scopes = [need.scope for need in plain.needs_token_scopes()]
    assert scopes == ["read_api", "create_runner", "manage_runner", "api"]
    assert [need.scope for need in plain.needs_token_scopes() if need.is_optional] == ["api"]
    (api,) = retrying.needs_token_scopes()
    assert (api.scope, api.is_optional) == ("api", False)
    heals = "switches webhooks on again that GitLab switched off"
    assert api.why == f"retries jobs that a machine failed (infra_retry in p), {heals}"
    assert plain.needs_token_scopes()[-1].why == heals
    last = default.needs_token_scopes()[-1]
    assert (last.scope, last.is_optional) == ("api", True)
    assert last.why == f"retries jobs that a machine failed, {heals}"


@pytest.mark.parametrize(
    ("types", "is_mixed"),
    [
        (["m7i.large", "c6a.large", "t3.large", "g5.xlarge", "u-6tb1.metal"], False),
        (["m7g.large", "t4g.small", "a1.large", "im4gn.large", "c7gd.large", "g5g.large"], False),
        (["m7i.large", "m8gd.large"], True),
        (["g5.xlarge", "g5g.xlarge"], True),
    ],
)
def test_the_name_of_an_instance_type_gives_its_processor(types: list[str], is_mixed: bool) -> None:
    text = f'{GITLAB}[pools.p]\nbackend = "ec2"\nceiling = 1\ntags = ["a"]\n'
    text += f"instance_types = {types}\n"
    if is_mixed:
        with pytest.raises(ConfigError, match="mixes processors"):
            read_config(text)
    else:
        assert read_config(text).pools[0].instance_types == tuple(types)


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (read_days, "mon", (0,)),
        (read_days, "mon-fri", (0, 1, 2, 3, 4)),
        (read_days, "Sat, Sun", (5, 6)),
        (read_days, "fri-mon", (0, 4, 5, 6)),
        (read_days, "wed,mon-tue", (0, 1, 2)),
        (read_days, "sun-sat", (0, 1, 2, 3, 4, 5, 6)),
        (read_duration, "90s", timedelta(seconds=90)),
        (read_duration, "14m", timedelta(minutes=14)),
        (read_duration, "1h30m", timedelta(minutes=90)),
        (read_duration, "1d1s", timedelta(days=1, seconds=1)),
        (read_duration, "0s", timedelta()),
        (read_time, "00:00", timedelta()),
        (read_time, "08:05", timedelta(minutes=485)),
        (read_time, "24:00", timedelta(days=1)),
    ],
)
def test_days_durations_and_times(read: Callable[[str], Any], text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        *((read_days, text) for text in ("", "mon-", "-fri", "monday", "mon--fri", "mon,")),
        (read_days, "mon fri"),
        *((read_duration, text) for text in ("", "3", "h", "3 h", "-3h", "30m1h", "1.5h", "3H")),
        *((read_duration, text) for text in ("3min", 3, None)),
        *((read_time, text) for text in ("8:00", "24:01", "23:60", "0800", "", 8)),
    ],
)
def test_what_is_no_day_duration_or_time(read: Callable[[object], Any], text: object) -> None:
    with pytest.raises(ValueError, match=r"must be (days|a duration|a time)"):
        read(text)


@given(st.integers(0, 1_000_000).map(lambda seconds: timedelta(seconds=seconds)))
def test_durations_come_back(duration: timedelta) -> None:
    assert read_duration(duration_text(duration)) == duration
