"""A fleet.toml proposed from gitlab-runner's config.toml, and the result of each of its lines.

No token, key or password of the file is in the result. The tables and keys are those of
gitlab-runner's "Advanced configuration"; MachineOptions are those of docker-machine's AWS driver.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fleet.config.foreign import looks_like_runner_config
from fleet.config.from_runner_words import (
    AUTOSCALER,
    DOCKER,
    EXECUTORS,
    GLOBAL,
    MACHINE,
    OPTIONS,
    PLUGIN,
    RUNNER,
    TABLES,
)
from fleet.config.lines import Path, toml_lines
from fleet.config.reading import ConfigError, read_config
from fleet.config.secret_words import is_named_secret, looks_secret
from fleet.config.weekly import CountedPeriods, Window, counts_of_week, windows_of
from fleet.errors import Refused

Table = Mapping[str, Any]
TYPES = ("m7i.large", "m7a.large", "m6i.large")
NO_LIMIT = 10  # the ceiling where the file has none
LONGEST_NAME = 31
MOST_WINDOWS = 50

_MACHINES = frozenset({"docker+machine", "docker-autoscaler", "instance"})
_ON_EC2 = _MACHINES | {"docker", "shell"}
_ON_THE_MACHINE = frozenset({"instance", "shell"})
_SOCKET = re.compile(r"/var/run/docker\.sock(?::|$)")
_SECRET_KEYS = re.compile(
    r"(?i)token|secret|password|(?:access|account|private)[-_]?key|credential|auth"
)
_MEMORY = re.compile(r"(?i)([1-9]\d{0,6})([kmg])b?")


class Carry(StrEnum):
    """The result of a line."""

    KEPT = "kept"
    CHANGED = "changed"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedLine:
    """One key of config.toml. `note` never has its value where that may be a secret."""

    line: int
    key: str
    result: Carry
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A text for fleet.toml, the names of its pools, and what became of each line."""

    text: str
    pools: tuple[str, ...]
    lines: tuple[ImportedLine, ...]


@dataclass(slots=True, kw_only=True)
class _PoolDraft:
    """A pool as it grows. `keys` in the order of the file, as TOML."""

    name: str
    runner: str
    keys: dict[str, str] = field(default_factory=dict)
    docker: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    base: int = 0
    idle_s: int | None = None
    windows: tuple[Window, ...] = ()
    timezone: str = "UTC"
    limits: list[int] = field(default_factory=list)


def propose(text: str, *, name: str = "config.toml") -> Proposal:
    """The proposal. Raises `Refused` for a text that is no config.toml of gitlab-runner."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"{name} is not TOML: {error}") from error
    if not looks_like_runner_config(tables):
        raise Refused(f"{name} is no config.toml of gitlab-runner: it has no [[runners]]")
    return _Import(text, tables).proposal()


class _Import:
    """One run over the file: takes each key once, and notes its result."""

    def __init__(self, text: str, tables: Table) -> None:
        self._tables = tables
        self._lines = toml_lines(text)
        self._noted: list[ImportedLine] = []
        self._url = ""
        self._tls_ca = ""
        self._concurrent = _count(tables.get("concurrent"))

    def proposal(self) -> Proposal:
        for key in self._tables:
            if key != "runners":
                self._global(key)
        pools: list[_PoolDraft] = []
        for index, runner in _tables(self._tables.get("runners")):
            pool = self._runner(("runners", index), runner, [pool.name for pool in pools])
            if pool is not None:
                pools.append(pool)
        text = "\n".join([*self._head(), *(line for pool in pools for line in _lines_of(pool))])
        text += "\n"
        self._check(text, has_pools=bool(pools))
        noted = sorted(self._noted, key=lambda line: line.line)
        return Proposal(text=text, pools=tuple(pool.name for pool in pools), lines=tuple(noted))

    def _note(self, path: Path, result: Carry, note: str) -> None:
        key = ".".join(str(part) for part in path if not isinstance(part, int))
        line = self._lines.position(path).line
        self._noted.append(ImportedLine(line=line, key=key, result=result, note=note))

    def _kept(self, path: Path, note: str) -> None:
        self._note(path, Carry.KEPT, note)

    def _changed(self, path: Path, note: str) -> None:
        self._note(path, Carry.CHANGED, note)

    def _left(self, path: Path, note: str) -> None:
        self._note(path, Carry.LEFT_OUT, note)

    def _global(self, key: str) -> None:
        if key == "concurrent":
            self._changed((key,), "the ceiling of each pool, where its own limit is not lower")
        else:
            self._left((key,), GLOBAL.get(key, "the fleet has nothing of that kind"))

    def _head(self) -> Iterator[str]:
        yield "# Proposed from a config.toml of gitlab-runner. Read it through, then:"
        yield "# runner-fleet validate, runner-fleet plan, runner-fleet up"
        yield ""
        yield "[gitlab]"
        yield f"url = {_toml(self._url or 'https://gitlab.example.com')}"
        if self._tls_ca:
            yield f"tls_ca_file = {_toml(self._tls_ca)}"
        yield "# Each runner is made in its job's own project. For runners of a whole group, as"
        yield '# most registered runners are: runners_in = "group:<number>"'
        yield 'runners_in = "project"'
        yield "# The groups or projects whose jobs the fleet runs, by number or path:"
        yield '# watch = { groups = ["acme"] }'

    def _check(self, text: str, *, has_pools: bool) -> None:
        """What `validate` would find in the proposal is for the person to correct."""
        if not has_pools:
            return
        try:
            read_config(text)
        except ConfigError as error:
            for problem in error.problems:
                note = f"correct line {problem.line} of the proposal: {problem.complaint}"
                line = ImportedLine(line=0, key=problem.path, result=Carry.CHANGED, note=note)
                self._noted.append(line)

    # One runner

    def _runner(self, path: Path, runner: Table, taken: Sequence[str]) -> _PoolDraft | None:
        executor = str(runner.get("executor", ""))
        if executor not in _ON_EC2:
            key_path = (*path, "executor") if "executor" in runner else path
            self._left(key_path, EXECUTORS.get(executor, "the fleet has no such executor: no pool"))
            return None
        if self._is_of_another(path, runner):
            return None
        label = _shown(runner.get("name")) or "a runner without a name"
        pool = _PoolDraft(name=_pool_name(_shown(runner.get("name")), taken), runner=label)
        pool.keys["backend"] = '"ec2"'
        pool.keys["tags"] = f"[{_toml(pool.name)}]"
        pool.keys["instance_types"] = _toml(TYPES)
        pool.keys["market"] = '"on-demand"' if executor in _MACHINES else '"spot-then-on-demand"'
        if executor in _ON_THE_MACHINE:
            pool.keys["executor"] = '"shell"'
        if self._concurrent:
            pool.limits.append(self._concurrent)
        for key, value in runner.items():
            self._key_of_runner(pool, path, key, value)
        most = [limit for limit in pool.limits if limit > 0]
        pool.keys["ceiling"] = str(min(most) if most else NO_LIMIT)
        if not most:
            self._changed(path, f"neither limit nor concurrent: a ceiling of {NO_LIMIT}")
        return pool

    def _key_of_runner(self, pool: _PoolDraft, path: Path, key: str, value: Any) -> None:
        key_path = (*path, key)
        reader: Callable[[_PoolDraft, Path, Any], None] | None = getattr(self, f"_read_{key}", None)
        if key == "tls-ca-file":
            self._tls_ca = self._tls_ca or _shown(value)
            self._kept(key_path, "[gitlab] tls_ca_file")
        elif key in {"token", "id", "token_obtained_at", "token_expires_at"}:
            self._left(
                key_path, "the fleet makes its runners with its own token: unregister this one"
            )
        elif reader is not None and isinstance(value, Mapping) is (key in _READ_TABLES):
            reader(pool, key_path, value)
        elif isinstance(value, Mapping):
            self._left(key_path, TABLES.get(key, "the fleet has nothing of that kind"))
        else:
            self._left(key_path, RUNNER.get(key, "the fleet has nothing of that kind"))

    def _read_name(self, pool: _PoolDraft, path: Path, _: Any) -> None:
        self._changed(path, f"the pool {pool.name}")

    def _is_of_another(self, path: Path, runner: Table) -> bool:
        url = _shown(runner.get("url")).rstrip("/")
        if self._url and url != self._url:
            note = "one stack serves one GitLab: no pool; deploy another stack for this one"
            self._left((*path, "url"), note)
            return True
        self._url = url
        return False

    def _read_url(self, _: _PoolDraft, path: Path, value: Any) -> None:
        self._kept(path, "[gitlab] url")

    def _read_executor(self, pool: _PoolDraft, path: Path, value: Any) -> None:
        pool_has = 'backend = "ec2"'
        if value in _ON_THE_MACHINE:
            pool_has += (
                ', executor = "shell": jobs run on the machine, so its image needs the tools'
            )
        self._changed(path, f"{pool_has}; one job for each machine")

    def _read_limit(self, pool: _PoolDraft, path: Path, value: Any) -> None:
        if number := _count(value):
            pool.limits.append(number)
        self._changed(path, "ceiling" if number else "no limit, and a pool must have a ceiling")

    def _read_environment(self, pool: _PoolDraft, path: Path, value: Any) -> None:
        for index, each in enumerate(value if isinstance(value, list) else []):
            name, equals, text = str(each).partition("=")
            key_path = (*path, index)
            is_name = re.fullmatch(r"[A-Za-z_]\w*", name) is not None and equals
            if not is_name or looks_secret(text) or is_named_secret(name, text) or _is_auth(name):
                shown = name if is_name else "an entry"
                self._left(key_path, f"{shown}: make it a CI/CD variable of GitLab, masked")
            else:
                pool.env[name] = text
                self._kept(key_path, f"env.{name}")

    def _read_feature_flags(self, pool: _PoolDraft, path: Path, value: Any) -> None:
        for name, is_on in value.items():
            if re.fullmatch(r"FF_\w+", name):
                pool.env[name] = str(bool(is_on)).lower()
                self._changed((*path, name), f"env.{name}")

    def _read_docker(self, pool: _PoolDraft, path: Path, value: Any) -> None:
        if "executor" in pool.keys:
            self._left(path, "no effect without the docker executor")
            return
        for key, each in value.items():
            self._docker_key(pool, (*path, key), key, each)

    def _docker_key(self, pool: _PoolDraft, path: Path, key: str, value: Any) -> None:
        if key in {"image", "helper_image"} and (text := _shown(value)):
            pool.docker[key] = _toml(text)
            self._kept(path, f"docker.{key}")
        elif key == "privileged":
            if value is True:
                pool.docker[key] = "true"
            self._kept(path, "docker.privileged")
        elif key == "volumes":
            self._volumes(pool, path, value)
        elif key == "pull_policy":
            policy = value[0] if isinstance(value, list) and value else value
            pool.docker[key] = _toml(_shown(policy))
            more = isinstance(value, list) and len(value) > 1
            self._changed(path, f"docker.pull_policy{': the first of them' if more else ''}")
        elif key == "cpus" and re.fullmatch(r"\d+(\.\d+)?", str(value)):
            pool.docker[key] = str(float(str(value)))
            self._kept(path, "docker.cpus")
        elif key == "memory" and (match := _MEMORY.fullmatch(str(value))):
            pool.docker[key] = _toml(f"{match[1]}{match[2].lower()}")
            self._kept(path, "docker.memory")
        else:
            self._left(path, DOCKER.get(key, "gitlab-runner's own default counts"))

    def _volumes(self, pool: _PoolDraft, path: Path, value: Any) -> None:
        kept = []
        for index, each in enumerate(value if isinstance(value, list) else []):
            key_path, volume = (*path, index), str(each)
            if _SOCKET.match(volume):
                pool.docker["socket"] = "true"
                self._changed(
                    key_path, "docker.socket = true: every job can be root of its machine"
                )
            elif volume == "/cache":
                self._left(key_path, "a machine has one job: `cache:` of the jobs is kept in S3")
            elif looks_secret(volume):
                self._left(key_path, "it holds what looks like a secret")
            else:
                kept.append(volume)
                self._kept(key_path, "docker.volumes")
        if kept:
            pool.docker["volumes"] = _toml(kept)

    def _read_cache(self, _: _PoolDraft, path: Path, value: Any) -> None:
        kind = _shown(value.get("Type"))
        if kind in {"", "s3"}:
            self._changed(
                path,
                "made by the deployment, with keys for one project at a time; what is in the old"
                " bucket is not moved, and runners of a whole group have no cache",
            )
        else:
            self._left(path, f"the cache is in S3, not in {kind}: what is in the old one stays")
        for key, each in value.items():
            if isinstance(each, Mapping):
                for inner in each:
                    self._cache_key((*path, key, inner), inner)
            elif key != "Type":
                self._cache_key((*path, key), key)

    def _cache_key(self, path: Path, key: str) -> None:
        secret = _SECRET_KEYS.search(key)
        self._left(path, "machines get keys of their own" if secret else "the fleet has its own")

    # Machines

    def _read_machine(self, pool: _PoolDraft, path: Path, value: Any) -> None:
        pool.base = _count(value.get("IdleCount"))
        pool.idle_s = _count(value.get("IdleTime")) or None
        for key, each in value.items():
            key_path = (*path, key)
            if key == "MachineOptions":
                for index, option in enumerate(each if isinstance(each, list) else []):
                    self._option(pool, (*key_path, index), str(option))
            elif key in _IDLE_KEYS:
                self._kept(key_path, _IDLE_KEYS[key])
            elif key not in {"autoscaling", "OffPeakPeriods"}:
                self._left(key_path, MACHINE.get(key, "the fleet has nothing of that kind"))
        listed = [
            ((*path, "autoscaling", index), table.get("Periods"), table.get("IdleCount"))
            for index, table in _tables(value.get("autoscaling"))
        ]
        zones = [table.get("Timezone") for _, table in _tables(value.get("autoscaling"))]
        if "OffPeakPeriods" in value:
            off_peak = ((*path, "OffPeakPeriods"), value["OffPeakPeriods"])
            listed.insert(0, (*off_peak, value.get("OffPeakIdleCount")))
            zones.append(value.get("OffPeakTimezone"))
        self._schedule(pool, path, listed, next(filter(None, map(_shown, zones)), ""))

    def _option(self, pool: _PoolDraft, path: Path, option: str) -> None:
        name, _, value = option.partition("=")
        name = name.strip().removeprefix("--")
        value = value.strip()
        if looks_secret(value) or _SECRET_KEYS.search(name):
            self._left(path, f"{_word(name)}: machines have a role of the stack, and no keys")
        elif name in _AS_KEY and (text := _AS_KEY[name].write(value)):
            kept = _AS_KEY[name]
            into = pool.docker if kept.in_docker else pool.keys
            into[kept.key] = text
            self._changed(path, f"{kept.key}{kept.note}")
        else:
            note = OPTIONS.get(name, "the fleet has nothing of that kind")
            self._left(path, f"{_word(name)}: {note}")

    def _read_autoscaler(self, pool: _PoolDraft, path: Path, value: Any) -> None:
        policies, zone = [], ""
        per_machine = _count(value.get("capacity_per_instance")) or 1
        for key, each in value.items():
            key_path = (*path, key)
            if key == "max_instances":
                if _count(each):
                    pool.limits.append(_count(each) * per_machine)
                self._changed(key_path, "ceiling, in jobs: a machine has one")
            elif key == "policy":
                for index, policy in _tables(each):
                    periods = policy.get("periods", ["* * * * *"])
                    policies.append(((*key_path, index), periods, policy.get("idle_count")))
                    zone = zone or _shown(policy.get("timezone"))
                    self._policy_keys((*key_path, index), policy)
                    pool.idle_s = pool.idle_s or _seconds(policy.get("idle_time"))
            elif isinstance(each, Mapping):
                for inner in each:
                    note = TABLES.get(key, "the fleet has nothing of that kind")
                    self._left((*key_path, inner), PLUGIN.get(inner, note))
            else:
                self._left(key_path, AUTOSCALER.get(key, "the fleet has nothing of that kind"))
        self._schedule(pool, path, policies, zone)

    def _policy_keys(self, path: Path, policy: Table) -> None:
        for key in policy:
            if key in {"scale_factor", "scale_factor_limit", "preemptive_mode"}:
                self._left((*path, key), "the idle target is a number of its own for each hour")

    def _schedule(
        self, pool: _PoolDraft, path: Path, policies: Sequence[tuple[Path, Any, Any]], zone: str
    ) -> None:
        """The warm schedule: the lowest count of the week, and windows where it is higher."""
        counted = []
        for key_path, periods, count in policies:
            listed = periods if isinstance(periods, list) else [periods]
            policy = CountedPeriods(periods=tuple(map(str, listed)), count=_count(count))
            try:
                counts_of_week(0, [policy])
            except ValueError as error:
                self._left(key_path, f"its period is not the same every week: {error}")
                continue
            counted.append(policy)
            self._changed(key_path, "idle.count and idle.schedule")
        if not counted:
            return
        pool.base, pool.windows = windows_of(counts_of_week(pool.base, counted))
        if len(pool.windows) > MOST_WINDOWS:
            pool.windows = ()
            self._left(path, f"more than {MOST_WINDOWS} windows: write idle.schedule by hand")
        known = re.fullmatch(r"[A-Za-z]+(?:/[\w+-]+)+|UTC", zone)
        if pool.windows and not known:
            self._changed(path, "the manager's own time zone counted; the proposal has UTC")
        pool.timezone = zone if known else "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class _AsKey:
    """An option that becomes a key; `write` gives its TOML, or nothing for a foreign value."""

    key: str
    write: Callable[[str], str]
    note: str = ""
    in_docker: bool = False


def _lines_of(pool: _PoolDraft) -> Iterator[str]:
    yield ""
    yield f"# From the runner {pool.runner}. Its tags are in GitLab, not in config.toml:"
    yield "# write them here, or give the jobs this one."
    yield f"[pools.{pool.name}]"
    for key, text in pool.keys.items():
        yield f"{key} = {text}"
    if pool.base or pool.windows or pool.idle_s:
        yield from _idle_lines(pool)
    if pool.docker:
        inner = ", ".join(f"{key} = {text}" for key, text in pool.docker.items())
        yield f"docker = {{ {inner} }}"
    if pool.env:
        inner = ", ".join(f"{name} = {_toml(value)}" for name, value in pool.env.items())
        yield f"env = {{ {inner} }}"


def _idle_lines(pool: _PoolDraft) -> Iterator[str]:
    parts = [f"count = {pool.base}"]
    if pool.idle_s:
        parts.append(f'idle_time = "{pool.idle_s}s"')
    if not pool.windows:
        yield f"idle = {{ {', '.join(parts)} }}"
        return
    yield f"idle = {{ {', '.join(parts)}, schedule = ["
    for window in pool.windows:
        yield f'    {{ {window.toml}, timezone = "{pool.timezone}", count = {window.count} }},'
    yield "] }"


def _toml(value: object) -> str:
    """A text, or a list of texts, as TOML writes it."""
    return json.dumps(value, ensure_ascii=False)


def _listed(value: str) -> str:
    return _toml([value])


def _digits(value: str) -> str:
    return value if value.isascii() and value.isdecimal() else ""


def _market(value: str) -> str:
    is_spot = value.lower() not in {"", "false", "0"}
    return '"spot-then-on-demand"' if is_spot else '"on-demand"'


def _tables(value: Any) -> Iterator[tuple[int, Table]]:
    """The tables of a list, with their indexes."""
    listed = value if isinstance(value, list) else []
    return ((index, entry) for index, entry in enumerate(listed) if isinstance(entry, Mapping))


def _pool_name(name: str, taken: Sequence[str]) -> str:
    """A name by the rules of fleet.toml that no other pool has."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    plain = plain if re.match(r"[a-z]", plain) else f"pool-{plain}".rstrip("-")
    plain = plain[:LONGEST_NAME].rstrip("-")
    number, wanted = 1, plain
    while wanted in taken:
        number += 1
        wanted = f"{plain[: LONGEST_NAME - 4]}-{number}"
    return wanted


def _shown(value: Any) -> str:
    """A text of one line without what looks like a secret, else empty."""
    text = value.strip() if isinstance(value, str) else ""
    return "" if looks_secret(text) or not text.isprintable() else text


def _word(name: str) -> str:
    """The name of an option, where it is one."""
    return name if re.fullmatch(r"[\w-]{1,60}", name) else "an option"


def _is_auth(name: str) -> bool:
    return bool(_SECRET_KEYS.search(name))


def _count(value: Any) -> int:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 < value <= 10_000 else 0


def _seconds(value: Any) -> int | None:
    """Go's `20m0s`, as seconds."""
    match = re.fullmatch(r"(?:(\d{1,4})h)?(?:(\d{1,4})m)?(?:(\d{1,5})s)?", str(value or "-"))
    if match is None:
        return None
    hours, minutes, seconds = (int(each or 0) for each in match.groups())
    return hours * 3600 + minutes * 60 + seconds or None


_READ_TABLES = frozenset({"docker", "machine", "autoscaler", "cache", "feature_flags"})
_IDLE_KEYS = {
    "IdleCount": "idle.count",
    "IdleTime": "idle.idle_time",
    "OffPeakIdleCount": "idle.schedule",
    "OffPeakTimezone": "idle.schedule",
}
_AS_KEY = {
    "amazonec2-instance-type": _AsKey(
        key="instance_types", write=_listed, note=": name two or three more of about this size"
    ),
    "amazonec2-request-spot-instance": _AsKey(key="market", write=_market),
    "amazonec2-root-size": _AsKey(key="disk_gb", write=_digits),
    "amazonec2-ami": _AsKey(key="image", write=_toml, note=": with systemd, curl and Docker"),
    "amazonec2-subnet-id": _AsKey(
        key="subnets", write=_listed, note=": give its network to `runner-fleet init --vpc`"
    ),
    "engine-registry-mirror": _AsKey(key="registry_mirror", write=_toml, in_docker=True),
}
