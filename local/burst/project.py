"""The fleet.toml of a burst, and the pipelines that make its jobs."""

POOL = "burst"
GROUP = "burst"
_LARGEST_PARALLEL = 200  # GitLab's own limit

_CONFIG = """\
[gitlab]
url = "{url}"
runners_in = "instance"
credentials = "{credentials}"
calls_per_minute = 2000

[pools.{pool}]
backend = "ec2"
tags = ["ec2"]
instance_types = ["m7i.large", "m7a.large"]
executor = "shell"
ceiling = {ceiling}
max_lifetime = "1h"
max_job_time = "20m"
"""


def config(*, url: str, credentials: str, ceiling: int) -> str:
    """One pool for all jobs."""
    return _CONFIG.format(url=url, credentials=credentials, ceiling=ceiling, pool=POOL)


def pipeline(jobs: int) -> str:
    """A `.gitlab-ci.yml` of so many identical jobs."""
    whole, rest = divmod(jobs, _LARGEST_PARALLEL)
    sizes = [_LARGEST_PARALLEL] * whole + [rest] * bool(rest)
    return "".join(
        f"work-{number}:\n  tags: [ec2]\n  parallel: {size}\n  script: [make]\n"
        for number, size in enumerate(sizes, start=1)
    )


def shares(jobs: int, projects: int) -> tuple[int, ...]:
    """So many jobs spread over so many projects, as evenly as can be; none without a job."""
    each, more = divmod(jobs, projects)
    return tuple(each + (number < more) for number in range(min(jobs, projects)))
