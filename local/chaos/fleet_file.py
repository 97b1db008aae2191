"""The fleet.toml of the chaos suite: the real periods, shorter, by configuration only."""

from dataclasses import dataclass

PROJECT = "acme/chaos"
POOLS = ("docker", "node")
TYPES = ("m7i.large", "m7a.large", "m6i.large")


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods:
    """The periods of a run in seconds, with the default of a fleet in brackets."""

    reconcile_s: float = 5.0  # (60)
    boot_deadline_s: int = 15  # (300 on EC2, 120 on Lambda)
    stalled_after_s: int = 6  # (300)
    heartbeat_s: float = 1.0  # (30)
    wait_timeout_s: int = 10  # (120 on EC2, 30 on Lambda)
    idle_time_s: int = 3  # (600)
    gitlab_silent_s: float = 3600.0  # GitLab gives up a job whose runner is silent (3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFile:
    """What differs between the fleets of two faults."""

    warm: int = 0  # EC2 machines kept idle
    attempts: int = 5

    def text(self, gitlab_url: str, periods: Periods) -> str:
        """The text to apply."""
        return _TEXT.format(
            url=gitlab_url,
            project=PROJECT,
            types=", ".join(f'"{kind}"' for kind in TYPES),
            warm=self.warm,
            attempts=self.attempts,
            idle_s=periods.idle_time_s,
            boot_s=periods.boot_deadline_s,
            wait_s=periods.wait_timeout_s,
            stalled_s=periods.stalled_after_s,
        )


_TEXT = """\
[gitlab]
url = "{url}"
runners_in = "instance"
credentials = "per-machine"
calls_per_minute = 2000
watch = {{ projects = ["{project}"] }}

[pools.docker]
backend = "ec2"
tags = ["ec2"]
instance_types = [{types}]
executor = "shell"
ceiling = 8
attempts = {attempts}
infra_retry = true
idle = {{ count = {warm}, idle_time = "{idle_s}s" }}
boot_deadline = "{boot_s}s"
wait_timeout = "{wait_s}s"
stalled_after = "{stalled_s}s"
max_lifetime = "1h"
max_job_time = "20m"

[pools.node]
backend = "lambda"
tags = ["lambda"]
size = "2GB"
ceiling = 8
attempts = {attempts}
infra_retry = true
idle = {{ count = 0, idle_time = "{idle_s}s" }}
boot_deadline = "{boot_s}s"
wait_timeout = "{wait_s}s"
stalled_after = "{stalled_s}s"
max_job_time = "14m"
"""
