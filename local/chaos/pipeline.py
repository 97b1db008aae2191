"""The pipelines of the chaos suite: a few short jobs drawn from a seed, and how each must end."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

SUCCESS = frozenset({"success"})
FAILED = frozenset({"failed"})
ANY_END = frozenset({"success", "failed", "canceled", "skipped"})
_FAILS = 3  # exit code of a job that fails on purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One job of a pipeline, and the states that it may end in."""

    name: str
    tag: str  # ec2 | lambda
    seconds: float  # how long its script takes
    ends: frozenset[str] = SUCCESS
    after: tuple[str, ...] = ()  # it needs these

    def to_yaml(self) -> str:
        """Its entry in the file. It speaks while it works: so it hears of its cancellation."""
        last = f"exit {_FAILS}" if self.ends == FAILED else "echo done"
        whole, rest = divmod(self.seconds, 1)
        work = f"for second in $(seq {whole:.0f}); do echo second $second; sleep 1; done"
        return (
            f"{self.name}:\n  tags: [{self.tag}]\n  needs: [{', '.join(self.after)}]\n"
            f"  allow_failure: {'true' if self.ends == FAILED else 'false'}\n"
            f"  script:\n    - sleep {rest:.1f}\n    - {work}\n    - {last}\n"
        )


def draw_jobs(draw: random.Random) -> tuple[Planned, ...]:
    """Four to seven jobs on both kinds of machines; one needs another, sometimes one fails."""
    tags = ["ec2", "lambda", *draw.choices(("ec2", "lambda"), k=draw.randint(1, 3))]
    jobs = [
        Planned(name=f"job-{number}", tag=tag, seconds=draw.uniform(0.2, 2.0))
        for number, tag in enumerate(tags, start=1)
    ]
    needed = draw.choice(jobs).name
    last = Planned(name="last", tag=draw.choice(("ec2", "lambda")), seconds=0.2, after=(needed,))
    if draw.random() < 0.25:
        jobs.append(Planned(name="broken", tag=draw.choice(tags), seconds=0.2, ends=FAILED))
    return (*jobs, last)


def victim(tag: str, seconds: float) -> Planned:
    """A job that is still at work when the fault comes."""
    return Planned(name="victim", tag=tag, seconds=seconds)


def on_ec2(jobs: Iterable[Planned]) -> tuple[Planned, ...]:
    """The same jobs, all for EC2."""
    return tuple(replace(job, tag="ec2") for job in jobs)


def any_end(jobs: Iterable[Planned]) -> tuple[Planned, ...]:
    """The same jobs, which may end as they like: a person cancels them."""
    return tuple(replace(job, ends=ANY_END) for job in jobs)


def ci_file(jobs: Iterable[Planned]) -> Mapping[str, str]:
    """The repository's files for these jobs."""
    return {".gitlab-ci.yml": "\n".join(job.to_yaml() for job in jobs)}
