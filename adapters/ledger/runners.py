"""The ledger's runner rows: live runners by pool, counted against the ceiling, and their mail."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from boto3.dynamodb.conditions import Attr, ConditionBase

from adapters.ledger.table import TRANSACT, Change, Item, Table, absent, exists
from fleet.events import WARNING, ReportUnreadable, emit
from fleet.machine.mailbox import Credential, Order, Report
from fleet.model import JobKey, Note, Runner, RunnerState
from fleet.reasons import Reason
from fleet.rules.liveness import heard

# How long the row of an ended runner is kept.
KEPT = timedelta(days=30)
MAIL = ("credential", "report", "order", "owner")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a requested runner came to live."""

    runner_id: str
    machine_id: str
    mailbox: str
    capacity: str


class RunnerRows:
    """Live runners of each pool. The pool's counter and the rows change in one transaction."""

    def __init__(self, table: Table, instance: str) -> None:
        self._table = table
        self._instance = instance  # the one GitLab that this fleet serves

    def reserve(
        self, runners: Sequence[Runner], *, ceiling: int, version: int
    ) -> tuple[Runner, ...]:
        """Record the intent to launch, within the ceiling; those recorded.

        `version` is the pool's as observed: when another run reserved since, none is recorded,
        because it may have launched for the same backlog.
        """
        done: list[Runner] = []
        size = TRANSACT - 1
        for start in range(0, len(runners), size):
            batch = runners[start : start + size]
            room = Attr("in_use").not_exists() | Attr("in_use").lte(ceiling - len(batch))
            same: ConditionBase = Attr("version").eq(version + start // size)
            if version + start // size == 0:
                same |= Attr("version").not_exists()
            count = Change(
                pk=f"pool#{batch[0].pool}",
                sk="pool",
                add={"in_use": len(batch), "version": 1},
                when=room & same,
            )
            rows = [_put(runner) for runner in batch]
            if len(batch) > ceiling or not self._table.transact([count, *rows]):
                break
            done += batch
        return tuple(done)

    def place(self, places: Sequence[Placement]) -> frozenset[str]:
        """Record the machines that came for requested runners, and who owns each mailbox.

        Gives the ids of the runners that were there to be placed: a row may be closed meanwhile.
        """
        placed: set[str] = set()
        size = TRANSACT // 2
        for start in range(0, len(places), size):
            batch = places[start : start + size]
            if self._table.transact([change for one in batch for change in _placing(one)]):
                placed |= {one.runner_id for one in batch}
            else:
                # One row that is gone refuses them all.
                whole = [one for one in batch if self._table.transact(_placing(one))]
                placed |= {one.runner_id for one in whole}
        return frozenset(placed)

    def equip(self, runner: Runner, credential: Credential) -> bool:
        """Leave a runner's credential in its mailbox; False when it has had one before."""
        if runner.mailbox is None:
            return False
        mail = credential.item(runner.mailbox)
        row = Change(
            pk=f"pool#{runner.pool}",
            sk=f"runner#{runner.id}",
            put=_present(
                {
                    "equipped": True,
                    "gitlab_runner_id": runner.gitlab_runner_id,
                    "pool_record_id": runner.pool_record_id,
                    "serves": runner.serves,
                }
            ),
            when=exists() & Attr("equipped").not_exists(),
        )
        return self._table.transact([row, Change(pk=mail["pk"], sk=mail["sk"], put=mail)])

    def leave_bare(self, runner: Runner) -> None:
        """Record that its launcher could not equip it, so that anybody may."""
        self._mark(runner, "left_bare")

    def lose_machine(self, runner: Runner) -> None:
        """Record that its machine ended, where the cloud can be asked no more."""
        self._mark(runner, "machine_lost")

    def note(self, runner: Runner, note: Note) -> None:
        """Record when a report of its machine was seen for the first time."""
        told = {
            "noted_mark": note.mark,
            "noted_at": note.at.isoformat(),
            "noted_state": note.state.value,
            "noted_since": note.since.isoformat(),
        }
        pk, sk = f"pool#{runner.pool}", f"runner#{runner.id}"
        self._table.write(Change(pk=pk, sk=sk, put=told, when=exists()))

    def _mark(self, runner: Runner, what: str) -> None:
        pk, sk = f"pool#{runner.pool}", f"runner#{runner.id}"
        self._table.write(Change(pk=pk, sk=sk, put={what: True}, when=exists()))

    def live(self, pool: str) -> tuple[Runner, ...]:
        """The live runners of a pool, each joined with what its machine last reported."""
        items = list(self._table.query(f"pool#{pool}", "runner#"))
        rows = [_runner(item) for item in items]
        reports = self.reports(row for row in rows)
        return tuple(
            heard(row, reports.get(row.id), self._instance, note=_note(item))
            for row, item in zip(rows, items, strict=True)
        )

    def find(self, runner_id: str) -> Runner | None:
        """One live runner, joined with its last report; None when it is closed or unknown."""
        item = self._table.get(f"pool#{pool_of(runner_id)}", f"runner#{runner_id}")
        if item is None:
            return None
        row = _runner(item)
        return heard(row, self.reports([row]).get(row.id), self._instance, note=_note(item))

    def job_of(self, runner_id: str) -> JobKey | None:
        """The job that a runner took, also of one that ended in the last weeks."""
        living = self.find(runner_id)
        if living is not None:
            return living.job
        item = self._table.get(f"runner#{runner_id}", "runner") or {}
        return JobKey.parse(item["job"]) if item.get("job") else None

    def owner(self, mailbox: str) -> str | None:
        """The id of the runner that lives on the machine with this mailbox."""
        item = self._table.get(f"machine#{mailbox}", "owner")
        return item["runner_id"] if item else None

    def reports(self, runners: Iterable[Runner]) -> dict[str, Report]:
        """The last report of each runner that made one, by runner id."""
        boxes = {f"machine#{one.mailbox}": one.id for one in runners if one.mailbox}
        found = self._table.get_many((box, "report") for box in boxes)
        read = ((boxes[pk], _report(item)) for (pk, _), item in found.items())
        return {runner_id: report for runner_id, report in read if report}

    def report(self, mailbox: str) -> Report | None:
        """The last report in a mailbox, whoever owns it."""
        item = self._table.get(f"machine#{mailbox}", "report")
        return _report(item) if item else None

    def took(self, runner: Runner, job: JobKey, project_id: int, *, at: datetime) -> None:
        """Record the job that GitLab says a runner took."""
        self._table.write(
            Change(
                pk=f"pool#{runner.pool}",
                sk=f"runner#{runner.id}",
                put={
                    "state": RunnerState.BUSY.value,
                    "job": str(job),
                    "works_for": project_id,
                    "changed_at": at.isoformat(),
                },
                when=exists(),
            )
        )

    def drain(self, runner: Runner, reason: Reason, *, at: datetime) -> None:
        """Order a machine to take no new job, finish the one it has, and end."""
        if runner.mailbox is None:
            return
        order = Order(reason=str(reason), at=at)
        mail = order.item(runner.mailbox, expires_at=runner.expires_at)
        row = Change(
            pk=f"pool#{runner.pool}",
            sk=f"runner#{runner.id}",
            put={"state": RunnerState.DRAINING.value, "changed_at": at.isoformat()},
            when=exists(),
        )
        self._table.transact([row, Change(pk=mail["pk"], sk=mail["sk"], put=mail)])

    def close(self, runner: Runner, reason: Reason, *, at: datetime) -> bool:
        """Move a runner out of the living and give its place back; False when done before."""
        ended = _facts(runner) | {
            "pk": f"runner#{runner.id}",
            "sk": "runner",
            "kind": "runner",
            "changed_at": at.isoformat(),
            "ended_at": at.isoformat(),
            "reason": str(reason),
            "ttl": int((at + KEPT).timestamp()),
        }
        pool = f"pool#{runner.pool}"
        changes = [
            Change(pk=pool, sk=f"runner#{runner.id}", delete=True, when=exists()),
            Change(pk=pool, sk="pool", add={"in_use": -1}),
            Change(pk=ended["pk"], sk=ended["sk"], put=ended),
        ]
        if runner.mailbox:
            box = f"machine#{runner.mailbox}"
            changes += [Change(pk=box, sk=sk, delete=True) for sk in MAIL]
        return self._table.transact(changes)


def _report(item: Item) -> Report | None:
    """What a machine wrote, if it can be read: a machine writes its report itself, and may be of
    another version than we are, or in the hands of a job."""
    try:
        return Report.of_item(item)
    except (KeyError, TypeError, ValueError, OverflowError) as exc:
        told = ReportUnreadable(mailbox=str(item.get("pk")), error=type(exc).__name__)
        emit(told, level=WARNING)
        return None


def pool_of(runner_id: str) -> str:
    """The pool in a runner's id, `rf-<pool>-<12 hex>`."""
    return runner_id.removeprefix("rf-").rpartition("-")[0]


def _placing(place: Placement) -> list[Change]:
    pool = pool_of(place.runner_id)
    told = {
        "state": RunnerState.IN_FLIGHT.value,
        "machine_id": place.machine_id,
        "mailbox": place.mailbox,
        "capacity": place.capacity,
    }
    owner = {"runner_id": place.runner_id, "pool": pool}
    return [
        Change(pk=f"pool#{pool}", sk=f"runner#{place.runner_id}", put=told, when=exists()),
        Change(pk=f"machine#{place.mailbox}", sk="owner", put=owner),
    ]


def _put(runner: Runner) -> Change:
    item = _facts(runner) | {"pk": f"pool#{runner.pool}", "sk": f"runner#{runner.id}"}
    return Change(pk=item["pk"], sk=item["sk"], put=item, when=absent())


def _present(facts: Mapping[str, object]) -> Item:
    return {name: value for name, value in facts.items() if value is not None}


def _facts(runner: Runner) -> Item:
    return _present(
        {
            "id": runner.id,
            "pool": runner.pool,
            "backend": runner.backend,
            "state": runner.state.value,
            "launched_at": runner.launched_at.isoformat(),
            "expires_at": runner.expires_at.isoformat(),
            "launch_id": runner.launch_id,
            "project_id": runner.project_id,
            "for_job": str(runner.for_job) if runner.for_job else None,
            "works_for": runner.works_for,
            "job": str(runner.job) if runner.job else None,
            "machine_id": runner.machine_id,
            "mailbox": runner.mailbox,
            "gitlab_runner_id": runner.gitlab_runner_id,
            "pool_record_id": runner.pool_record_id,
            "serves": runner.serves,
            "capacity": runner.capacity,
            "changed_at": runner.changed_at.isoformat() if runner.changed_at else None,
            "equipped": runner.equipped or None,
            "left_bare": runner.left_bare or None,
            "machine_lost": runner.machine_lost or None,
        }
    )


def _note(item: Item) -> Note | None:
    """The last note of a report of its machine."""
    if "noted_mark" not in item:
        return None
    return Note(
        mark=item["noted_mark"],
        at=datetime.fromisoformat(item["noted_at"]),
        state=RunnerState(item["noted_state"]),
        since=datetime.fromisoformat(item["noted_since"]),
    )


def _runner(item: Item) -> Runner:
    return Runner(
        id=item["id"],
        pool=item["pool"],
        backend=item["backend"],
        state=RunnerState(item["state"]),
        launched_at=datetime.fromisoformat(item["launched_at"]),
        expires_at=datetime.fromisoformat(item["expires_at"]),
        launch_id=item["launch_id"],
        project_id=item.get("project_id"),
        for_job=JobKey.parse(item["for_job"]) if item.get("for_job") else None,
        works_for=item.get("works_for"),
        job=JobKey.parse(item["job"]) if item.get("job") else None,
        machine_id=item.get("machine_id"),
        mailbox=item.get("mailbox"),
        gitlab_runner_id=item.get("gitlab_runner_id"),
        pool_record_id=item.get("pool_record_id"),
        serves=item.get("serves"),
        capacity=item.get("capacity"),
        changed_at=datetime.fromisoformat(item["changed_at"]) if item.get("changed_at") else None,
        equipped=bool(item.get("equipped")),
        left_bare=bool(item.get("left_bare")),
        machine_lost=bool(item.get("machine_lost")),
    )
