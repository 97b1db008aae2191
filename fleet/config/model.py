"""What `fleet.toml` may say: its tables as frozen values, with the defaults.

Every default is written here, once; `docs/configuration.md` repeats them for readers. Checks that
need more than one key are in `fleet/config/checks.py`.
"""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationInfo,
    field_validator,
)

from fleet.config.gitlab_address import read_address
from fleet.config.values import (
    SHORTEST_JOB_LIMIT,
    AllWatched,
    Image,
    InstanceTypes,
    Memory,
    PoolName,
    Subnets,
    Tags,
    Text,
    Texts,
    TimeOfDay,
    TimeZone,
    UpToADay,
    UpToAnHour,
    UpToAWeek,
    Variable,
    VariableValue,
    Weekdays,
    read_runners_in,
    read_watched,
    shown,
)

BACKENDS = ("ec2", "lambda")
# A Lambda invocation ends here: the default of the template's LambdaTimeout, and what every account
# has (source: AWS Lambda quotas). A stack may have more, up to what `LONGEST_LAMBDA_WALL` says: the
# maximum in Lambda's model of November 2026, which is not tried.
LAMBDA_WALL = timedelta(minutes=15)
LONGEST_LAMBDA_WALL = timedelta(minutes=30)
LAMBDA_MARGIN = timedelta(minutes=1)  # of the wall, for all but the job
# What a machine needs besides its job: boot, waiting for the job, reporting, ending.
MARGIN = timedelta(minutes=15)

Market = Literal["spot-then-on-demand", "spot", "on-demand"]
RunnerSize = Literal["2GB", "4GB", "8GB"]  # of memory; each is a function of the template


Usd = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]  # of a day
Project = Annotated[str, BeforeValidator(read_watched)]


class _Table(BaseModel):
    """A table of the file: frozen, nothing but the keys named here, no conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RunnersIn(_Table):
    """Where in GitLab the runners are made. `id` is None for a job's own project."""

    kind: Literal["instance", "group", "project"]
    id: int | None = None


def _runners_in(value: object) -> RunnersIn:
    return value if isinstance(value, RunnersIn) else RunnersIn(**read_runners_in(value))


class Watch(_Table):
    """Projects and groups, by number or path, whose pending jobs are read once a minute."""

    projects: AllWatched = ()
    groups: AllWatched = ()


class Budgets(_Table):
    """The table `[budgets]`: the most that the machines of a project may cost in a day."""

    projects: dict[Project, Usd] = Field(default_factory=dict)  # by number or full path


class GitLabConfig(_Table):
    """The table `[gitlab]`."""

    url: str
    runners_in: Annotated[RunnersIn, BeforeValidator(_runners_in)]
    credentials: Literal["per-machine", "shared"] = "per-machine"
    calls_per_minute: int = Field(default=300, ge=10, le=2000)
    tls_ca_file: Text | None = None  # on the machine where `apply` runs
    proxy: str | None = None
    watch: Watch = Watch()

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        """Give the address as the client needs it."""
        return read_address(url)

    @field_validator("proxy")
    @classmethod
    def _is_a_proxy(cls, proxy: str | None) -> str | None:
        """Give the address without a slash at its end. A user or password in it is not shown."""
        if proxy is None:
            return None
        try:
            parts = urlsplit(proxy)
            is_proxy = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # brackets or a port that are none
            parts, is_proxy = urlsplit(""), False
        if "@" in parts.netloc:
            raise ValueError("must not hold a user or a password")
        if not is_proxy or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError(f'must be such as "http://proxy:3128" (is {shown(proxy)})')
        if re.search(r"[\s,;]", proxy):
            raise ValueError(f"must be one address (is {shown(proxy)})")
        return proxy.rstrip("/")


class ScheduleWindow(_Table):
    """Hours of the week, on the clock of a time zone, with their own idle count."""

    days: Weekdays = (0, 1, 2, 3, 4, 5, 6)  # on which it starts; Monday is 0
    start: TimeOfDay = Field(alias="from")
    end: TimeOfDay = Field(alias="to")  # not later than `start`: on the next day
    timezone: TimeZone
    count: int = Field(ge=0)

    @field_validator("end")
    @classmethod
    def _is_not_empty(cls, end: timedelta, info: ValidationInfo) -> timedelta:
        if end == info.data.get("start"):
            raise ValueError('must differ from "from"; a whole day is "00:00" to "24:00"')
        return end


class IdleConfig(_Table):
    """How many runners wait for a job that is not there yet."""

    count: int = Field(default=0, ge=0)
    idle_time: UpToADay = timedelta(minutes=10)
    schedule: Annotated[tuple[ScheduleWindow, ...], Strict(False)] = ()


class DockerOptions(_Table):
    """How gitlab-runner's docker executor runs jobs on the pool's machines."""

    image: Text = "alpine:latest"  # for jobs that name none
    socket: bool = False  # `docker build` works, and root of the machine is in the job's hands
    privileged: bool = False
    volumes: Texts = ()
    registry_mirror: Text | None = None
    pull_policy: Literal["always", "if-not-present", "never"] = "if-not-present"
    helper_image: Text | None = None
    cpus: float | None = Field(default=None, ge=0.01, le=1024)  # of the job's own container
    memory: Memory | None = None


def _by_backend(on_lambda: Any, otherwise: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda known: on_lambda if known.get("backend") == "lambda" else otherwise


def _job_limit(known: dict[str, Any]) -> timedelta:
    if known.get("backend") == "lambda":
        wall: timedelta = min(known["max_lifetime"], LONGEST_LAMBDA_WALL)
        return max(SHORTEST_JOB_LIMIT, wall - LAMBDA_MARGIN)
    lifetime: timedelta = known["max_lifetime"]
    return max(SHORTEST_JOB_LIMIT, lifetime - MARGIN)


class PoolConfig(_Table):
    """One table `[pools.<name>]`: runners of one kind."""

    name: PoolName
    backend: str
    tags: Tags = ()
    run_untagged: bool = False
    protected_only: bool = False
    ceiling: int = Field(ge=1, le=10_000)
    idle: IdleConfig = IdleConfig()
    overflow: str | None = None
    attempts: int = Field(default=3, ge=1, le=10)
    infra_retry: bool = True
    budget_usd_per_day: Usd | None = None
    # EC2
    instance_types: InstanceTypes = ()
    market: Market = "spot-then-on-demand"
    subnets: Subnets = ()
    image: Image | None = None
    disk_gb: int | None = Field(default=None, ge=8, le=16_384)
    # Lambda
    size: RunnerSize = "4GB"
    # Time
    max_lifetime: UpToAWeek = Field(default_factory=_by_backend(LAMBDA_WALL, timedelta(hours=3)))
    max_job_time: UpToAWeek = Field(default_factory=_job_limit)
    boot_deadline: UpToAnHour = Field(
        default_factory=_by_backend(timedelta(minutes=2), timedelta(minutes=5))
    )
    wait_timeout: UpToAnHour = Field(
        default_factory=_by_backend(timedelta(seconds=30), timedelta(minutes=2))
    )
    stalled_after: UpToAnHour = timedelta(minutes=5)
    # How jobs run
    executor: Literal["docker", "shell"] = Field(default_factory=_by_backend("shell", "docker"))
    docker: DockerOptions = DockerOptions()
    env: dict[Variable, VariableValue] = Field(default_factory=dict)

    @property
    def memory_gb(self) -> int:
        """The memory of a Lambda pool's functions."""
        return int(self.size.removesuffix("GB"))

    @field_validator("backend")
    @classmethod
    def _is_a_known_backend(cls, backend: str, info: ValidationInfo) -> str:
        known: tuple[str, ...] = (info.context or {}).get("backends", BACKENDS)
        if backend not in known:
            names = " or ".join(f'"{name}"' for name in known)
            raise ValueError(f"must be {names} (is {shown(backend)})")
        return backend
