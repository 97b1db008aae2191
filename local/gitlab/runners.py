"""Runner records: creation, tokens, limits, calls, deletion."""

import random
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta

from local.gitlab.model import Runner, RunnerManager
from local.gitlab.options import Options

LEGACY_SYSTEM_ID = "<legacy>"
_INFO = ("version", "revision", "platform", "architecture", "executor")


class LimitReached(Exception):
    """The group or project has as many runners as the plan allows."""


class Runners:
    """All runners of the instance."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._random = random.Random(options.seed)  # noqa: S311  repeatable on purpose
        # By runner type, as the administrator sets `…runner_token_expiration_interval`.
        self.token_lifetimes: dict[str, timedelta] = {}
        self._made = 0
        self._managers_made = 0
        self.by_id: dict[int, Runner] = {}
        self._by_token: dict[str, Runner] = {}

    def add(self, runner: Runner) -> Runner:
        """Take a new runner, with an id and a fresh token. Raises `LimitReached`."""
        self._check_limit(runner)
        self._made += 1
        runner.id = self._made
        runner.token = f"glrt-{secrets.token_urlsafe(15)}"
        runner.token_expires_at = self._expiry(runner.runner_type, runner.created_at)
        self.by_id[runner.id] = self._by_token[runner.token] = runner
        return runner

    def _check_limit(self, new: Runner) -> None:
        if new.group is not None:
            limit = self._options.group_runner_limit
            siblings = [r for r in self.by_id.values() if r.group is new.group]
        elif new.projects:
            limit = self._options.project_runner_limit
            siblings = [r for r in self.by_id.values() if new.projects.keys() <= r.projects.keys()]
        else:
            return
        recent = self._options.timeouts.stale
        at = new.created_at
        counted = [r for r in siblings if at - (r.contacted_at or r.created_at) <= recent]
        if len(counted) >= limit:
            raise LimitReached(f"Maximum number of ci registered runners ({limit}) exceeded")

    def by_token(self, token: str) -> Runner | None:
        """The runner of an authentication token."""
        return self._by_token.get(token)

    def _expiry(self, runner_type: str, at: datetime) -> datetime | None:
        """When a token made at `at` ends; a change of the setting moves no token's end."""
        lifetime = self.token_lifetimes.get(runner_type)
        return at + lifetime if lifetime else None

    def renew_token(self, runner: Runner, *, at: datetime) -> str:
        """A fresh token; the old token is invalid from now on."""
        del self._by_token[runner.token]
        runner.token_expires_at = self._expiry(runner.runner_type, at)
        runner.token = f"glrt-{secrets.token_urlsafe(15)}"
        self._by_token[runner.token] = runner
        return runner.token

    def hear(
        self, runner: Runner, *, system_id: str | None, info: Mapping[str, object], at: datetime
    ) -> RunnerManager:
        """Record a call of one machine of the runner; `contacted_at` may lag."""
        name = system_id or LEGACY_SYSTEM_ID
        manager = runner.managers.get(name)
        if manager is None:
            self._managers_made += 1
            manager = RunnerManager(id=self._managers_made, system_id=name, created_at=at)
            runner.managers[name] = manager
        for field in _INFO:
            value = info.get(field)
            if isinstance(value, str):
                setattr(manager, field, value)
        features = info.get("features")
        if isinstance(features, Mapping):
            manager.cancels_gracefully = features.get("cancel_gracefully") is True
        runner.heard_at = at
        for record in (runner, manager):
            if record.contacted_at is None or at - record.contacted_at >= self._lag():
                record.contacted_at = at
        return manager

    def _lag(self) -> timedelta:
        """The greatest age of `contacted_at`, drawn for each call."""
        limits = self._options.timeouts
        least, most = limits.contact_written_every, limits.contact_written_at_latest
        return least + self._random.random() * (most - least)

    def delete(self, runner: Runner) -> None:
        """Delete the runner; its token is unknown from now on, its jobs still name it."""
        del self.by_id[runner.id], self._by_token[runner.token]

    def is_online(self, runner: Runner, at: datetime) -> bool:
        """Whether the runner called within two hours."""
        contacted_at = runner.contacted_at
        return contacted_at is not None and at - contacted_at <= self._options.timeouts.online

    def status(self, runner: Runner | RunnerManager, at: datetime) -> str:
        """online | offline | stale | never_contacted."""
        contacted_at = runner.contacted_at
        limits = self._options.timeouts
        if at - (contacted_at or runner.created_at) > limits.stale:
            return "stale"
        if contacted_at is None:
            return "never_contacted"
        return "online" if at - contacted_at <= limits.online else "offline"
