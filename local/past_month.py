"""How long a month of past runs takes to read: `python -m local.past_month [jobs]`.

Writes them into a table of an engine of its own, asks for waits and cost as the commands do, and
prints the seconds. Nothing is left.
"""

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from adapters.ledger.history import HistoryRows, past_change
from adapters.ledger.table import Table, to_dynamodb
from fleet.past import PastRun
from fleet.rules.costs import By, cost_lines
from fleet.rules.waits import wait_lines
from local.aws.engine import Engine

JOBS = 50_000
BATCH = 25  # of BatchWriteItem
NAME = "past-month"


def main() -> None:
    """Write, read, print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else JOBS
    until = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as folder, Engine(Path(folder)) as engine:
        client = engine.client("dynamodb")
        _make(client)
        _fill(client, month(count, until))
        began, used = time.monotonic(), time.process_time()
        rows = HistoryRows(Table(client, NAME))
        runs = rows.between(until - timedelta(days=30), until)
        read_s = time.monotonic() - began
        waits, costs = wait_lines(runs, over_s=60), cost_lines(runs, By.PROJECT)
        whole_s, own_s = time.monotonic() - began, time.process_time() - used
    print(f"{len(runs)} jobs of 30 days: read in {read_s:.1f} s, answered in {whole_s:.1f} s")
    print(f"of that {own_s:.1f} s are this process; the rest is the engine, and waiting for it")
    print(f"p95 {waits[0].p95_s:.0f} s, {sum(line.usd for line in costs):.2f} USD")


def month(count: int, until: datetime) -> Iterator[PastRun]:
    """So many jobs, spread over the 30 days before."""
    dice = random.Random(1)  # noqa: S311  no secret
    for number in range(count):
        end = until - timedelta(seconds=dice.uniform(1, 30 * 86_400 - 1))
        marks = [end - timedelta(seconds=s + dice.random()) for s in (400, 398, 395, 390, 350, 340)]
        yield PastRun(
            id=f"rf-docker-{number:012x}",
            ended_at=end,
            pool=dice.choice(["docker", "node"]),
            job_id=10**9 + number,
            name="build-image",
            project_id=number % 40,
            project=f"acme/platform/service-{number % 40}",
            outcome=dice.choice(["success", "success", "failed"]),
            pending_at=marks[0],
            heard_at=marks[1],
            heard_by="webhook_received",
            routed_at=marks[2],
            demand_at=marks[2],
            launched_at=marks[3],
            called_home_at=marks[4],
            taken_at=marks[5],
            first_output_at=marks[5],
            finished_at=end - timedelta(seconds=5),
            backend="ec2",
            machine=f"i-{number:017x}",
            capacity="m7i.large/subnet-0123456789abcdef0/spot",
            for_job=10**9 + number,
            reason="finished",
            usd_nano=4_000_000,
        )


def _make(client: Any) -> None:
    keys = (("pk", "HASH"), ("sk", "RANGE"))
    client.create_table(
        TableName=NAME,
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name, _ in keys],
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys],
        BillingMode="PAY_PER_REQUEST",
    )


def _fill(client: Any, runs: Iterator[PastRun]) -> None:
    while batch := list(islice(runs, BATCH)):
        items = (past_change(run).put for run in batch)
        puts = [{"PutRequest": {"Item": to_dynamodb(item)}} for item in items]
        client.batch_write_item(RequestItems={NAME: puts})


if __name__ == "__main__":
    main()
