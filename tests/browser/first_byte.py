"""How long the first byte of each page takes, with 10,000 jobs and 500 machines.

`python -m tests.browser.first_byte [times]` prints the median and the worst of so many requests for
each page, while the fleet is read again and again, as with a page open. The fleet is in memory:
what reading it from AWS takes besides is waiting.
"""

import http.client
import statistics
import sys
import time
import urllib.request
from urllib.parse import urlsplit

from fleet.machine.mailbox import MachineState
from fleet.reasons import Reason
from fleet.steps import Step, StepName
from local.past_month import month
from monitor.questions import Sources
from monitor.reader_processes import ReaderProcesses
from tests.browser.show import FLEET, served
from tests.unit.cli.fleet_at_work import AT, AtWork, ago

POOL = """
[pools.{name}]
backend = "ec2"
tags = ["{name}"]
instance_types = ["m7i.large"]
ceiling = 99
"""
PATHS = (
    *("/", "/machines", "/waits?span=month", "/jobs?since=30d", "/projects?since=30d"),
    *("/projects?since=30d&by=job", "/limits", "/pools/pool-1", "/job?of=10001", "/metrics"),
)


NAMES = [f"pool-{number}" for number in range(6)]
CONFIG = FLEET + "".join(POOL.format(name=name) for name in NAMES)


def sources() -> Sources:
    """The large fleet, in each process that reads it."""
    return Sources(deployed=large_fleet(jobs=10_000, machines=500, past=20_000).deployed)


def large_fleet(*, jobs: int, machines: int, past: int) -> AtWork:
    """A fleet with so many waiting jobs, live machines and past runs, in six pools."""
    at_work = AtWork().configure(CONFIG)
    names = NAMES
    for number in range(machines):
        name = names[number % len(names)]
        runner = at_work.runner(number, pool=name, launched_s=60 + number % 900)
        taken = Step(at=ago(50), name=StepName.JOB_TAKEN, job_id=number)
        at_work.reports(runner, MachineState.BUSY, taken, job_id=number)
    for number in range(jobs):
        name, waits_s = names[number % len(names)], 10 + number % 3000
        at_work.job(10_000 + number, pool=name, waits_s=waits_s, reason=Reason.AT_CEILING)
    for run in month(past, AT):
        at_work.deployed.history.write(run)
    return at_work


def first_byte_s(address: str, path: str) -> float:
    """From the request until the answer's head."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    began = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    took = time.perf_counter() - began
    answer.read()
    connection.close()
    return took


def wait_for(address: str, path: str) -> None:
    """Wait until a page shows what it asked for, and all of the fleet."""
    while True:
        with urllib.request.urlopen(address + path) as answer:
            text = str(answer.read(), "utf-8")
        if "Reading the" not in text and (path != "/" or "1,667 waiting" in text):
            return
        time.sleep(1)


def main() -> None:
    """Serve, ask, print."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    readers = ReaderProcesses(sources)
    with served(AtWork().configure(CONFIG), ask=readers) as address:
        for path in PATHS:
            wait_for(address, path)
        for path in PATHS:
            took = sorted(first_byte_s(address, path) for _ in range(times))
            median, worst = statistics.median(took) * 1000, took[-1] * 1000
            print(f"{path:26} median {median:6.1f} ms   worst {worst:6.1f} ms", flush=True)
    readers.end()


if __name__ == "__main__":
    main()
