"""The ledger's runner rows: live runners by pool, counted against the ceiling, and their mail.

What the fleet knows of a mailbox, its owner, lies here, where no machine may write.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from boto3.dynamodb.conditions import Attr, ConditionBase

from adapters.ledger.mailbox_rows import MailboxRows
from adapters.ledger.recent import KEY as RECENT, recent_pk
from adapters.ledger.rows import JOB_KEY, RowType
from adapters.ledger.table import (
    INVALID,
    TRANSACT,
    Change,
    Item,
    Rows,
    Table,
    absent,
    exists,
    present,
)
from fleet.machine.mailbox import Credential, Order, Report
from fleet.model import JobKey, Note, Runner, RunnerState
from fleet.reasons import Reason
from fleet.rules.liveness import with_report
from fleet.rules.runner_record import PREFIX

# Runners of one transaction; the pool's counter is its other change.
RESERVED_AT_ONCE = TRANSACT - 1
# Of the row of an ended runner.
KEPT = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRunners:
    """The live runners of a pool."""

    runners: tuple[Runner, ...]
    hidden: frozenset[str]  # ids of runners and machines whose rows cannot be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The machine of a requested runner."""

    runner_id: str
    machine_id: str
    mailbox: str
    capacity: str
    usd_per_hour: float | None = None


RUNNER_ROW = RowType(
    of=Runner,
    forms={"for_job": JOB_KEY, "job": JOB_KEY},
    # A report says these.
    elsewhere=frozenset({"heartbeat_at", "asks", "is_called_off", "sign", "claim", "awaits_word"}),
)
NOTE_ROW = RowType(
    of=Note, names={name: f"noted_{name}" for name in ("mark", "at", "state", "since")}
)


class RunnerRows(Rows):
    """Live runners of each pool. The pool's counter and the rows change in one transaction."""

    def __init__(self, table: Table, mailboxes: MailboxRows, instance: str) -> None:
        super().__init__(table)
        self._mailboxes = mailboxes
        self._instance = instance  # the GitLab that this fleet serves

    def reserve(
        self, runners: Sequence[Runner], *, ceiling: int, version: int
    ) -> tuple[Runner, ...]:
        """Record the intent to launch, within the ceiling; the recorded runners.

        `version` is the pool's as observed: after another reservation nothing is recorded, because
        it may be for the same backlog. Each transaction, of `RESERVED_AT_ONCE` runners, raises it
        by 1.
        """
        done: list[Runner] = []
        for number, start in enumerate(range(0, len(runners), RESERVED_AT_ONCE)):
            batch = runners[start : start + RESERVED_AT_ONCE]
            room = Attr("in_use").not_exists() | Attr("in_use").lte(ceiling - len(batch))
            same: ConditionBase = Attr("version").eq(version + number)
            if version + number == 0:
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

    def note_placed(self, placements: Sequence[Placement]) -> frozenset[str]:
        """Record the machines of requested runners, and the owner of each mailbox.

        The ids of the runners that still have a row: another call may have closed it.
        """
        placed: set[str] = set()
        size = TRANSACT // 2
        for start in range(0, len(placements), size):
            batch = placements[start : start + size]
            if self._table.transact([change for each in batch for change in _placing(each)]):
                placed |= {each.runner_id for each in batch}
            else:
                # A single closed row makes the table refuse all of them.
                placed |= {each.runner_id for each in batch if self._table.transact(_placing(each))}
        return frozenset(placed)

    def equip(self, runner: Runner, credential: Credential) -> bool:
        """Put a runner's credential into its mailbox; False when it has had one before."""
        if runner.mailbox is None:
            return False
        mail = self._mailboxes.credential(runner.mailbox, credential)
        row = Change(
            pk=f"pool#{runner.pool}",
            sk=f"runner#{runner.id}",
            put=present(
                {
                    "equipped": True,
                    "gitlab_runner_id": runner.gitlab_runner_id,
                    "pool_record_id": runner.pool_record_id,
                    "serves": runner.serves,
                }
            ),
            when=exists() & Attr("equipped").not_exists(),
        )
        return self._table.transact([row, mail])

    def note_left_bare(self, runner: Runner) -> None:
        """Record that its launcher could not equip it, so that any other pass may."""
        self._mark(runner, left_bare=True)

    def note_machine_lost(self, runner: Runner) -> None:
        """Record that its machine ended, on a back end that shows no machines."""
        self._mark(runner, machine_lost=True)

    def note_claim(self, runner: Runner, *, at: datetime) -> None:
        """Record since when scaling waits for GitLab's word about its claim."""
        self._mark(runner, claimed_at=at)

    def note(self, runner: Runner, note: Note) -> None:
        """Record when the fleet first saw a report of its machine."""
        self._mark(runner, **NOTE_ROW.write(note))

    def _mark(self, runner: Runner, **facts: object) -> None:
        pk, sk = f"pool#{runner.pool}", f"runner#{runner.id}"
        self._table.write(Change(pk=pk, sk=sk, put=facts, when=exists()))

    def live(self, pool: str) -> tuple[Runner, ...]:
        """The live runners of a pool, each joined with the last report of its machine."""
        return self.live_and_hidden(pool).runners

    def live_and_hidden(self, pool: str) -> LiveRunners:
        """The same, with what is known of the rows that cannot be read."""
        items = list(self._table.query(f"pool#{pool}", "runner#"))
        rows = self._readable(_noted, items)
        reports = self.reports(row for row, _ in rows)
        readable = {row.id for row, _ in rows}
        hidden = [item for item in items if _id_of(item) not in readable]
        return LiveRunners(
            runners=tuple(
                with_report(row, reports.get(row.id), self._instance, note=note)
                for row, note in rows
            ),
            hidden=frozenset(name for item in hidden for name in _names_in(item)),
        )

    def find(self, runner_id: str) -> Runner | None:
        """One live runner, joined with its last report; None when it is closed or unknown.

        None also where its row cannot be read, which is counted.
        """
        item = self._table.get(f"pool#{pool_of(runner_id)}", f"runner#{runner_id}")
        noted = self._readable_one(_noted, item)
        if noted is None:
            return None
        row, note = noted
        return with_report(row, self.reports([row]).get(row.id), self._instance, note=note)

    def job_taken_by(self, runner_id: str) -> JobKey | None:
        """The job that a runner took, live or ended in the last 30 days."""
        live = self.find(runner_id)
        if live is not None:
            return live.job
        return self._job_in(self._table.get(f"runner#{runner_id}", "runner"), "job")

    def ended(self, runner_id: str) -> Runner | None:
        """A runner that ended in the last 30 days."""
        item = self._table.get(f"runner#{runner_id}", "runner")
        return self._readable_one(RUNNER_ROW.read, item)

    def launched_for(self, runner_id: str) -> JobKey | None:
        """The job that a runner was launched for, live or ended in the last 30 days."""
        item = self._table.get(f"pool#{pool_of(runner_id)}", f"runner#{runner_id}")
        item = item or self._table.get(f"runner#{runner_id}", "runner")
        return self._job_in(item, "for_job")

    def _job_in(self, item: Item | None, attribute: str) -> JobKey | None:
        """The job that an attribute of a row names."""
        named = item if item and attribute in item else None
        return self._readable_one(lambda row: JobKey.parse(row[attribute]), named)

    def owner(self, mailbox: str) -> str | None:
        """The id of the runner on the machine with this mailbox."""
        item = self._table.get(_owner(mailbox), "owner")
        return item.get("runner_id") if item else None

    def reports(self, runners: Iterable[Runner]) -> dict[str, Report]:
        """The last report of each runner that has made one, by runner id."""
        owners = {runner.mailbox: runner.id for runner in runners if runner.mailbox}
        reports = self._mailboxes.reports(owners)
        return {owners[mailbox]: report for mailbox, report in reports.items()}

    def report(self, mailbox: str) -> Report | None:
        """The last report in a mailbox, whichever runner owns it."""
        return self._mailboxes.reports([mailbox]).get(mailbox)

    def record_taken(self, runner: Runner, job: JobKey, project_id: int, *, at: datetime) -> None:
        """Record the job that a runner took and works on, by GitLab's word."""
        busy = RunnerState.BUSY
        self._mark(runner, state=busy, job=str(job), works_for=project_id, changed_at=at)

    def record_past_job(self, runner: Runner, job: JobKey, project_id: int) -> None:
        """Record the job that a runner took and that is over by now, by GitLab's word."""
        self._mark(runner, job=str(job), works_for=project_id)

    def drain(self, runner: Runner, reason: Reason, *, at: datetime) -> None:
        """Order a machine to take no new job, finish the one it has, and end."""
        if runner.mailbox is None:
            return
        order = Order(reason=str(reason), at=at)
        mail = self._mailboxes.order(runner.mailbox, order, expires_at=runner.expires_at)
        row = Change(
            pk=f"pool#{runner.pool}",
            sk=f"runner#{runner.id}",
            put={"state": RunnerState.DRAINING, "changed_at": at},
            when=exists(),
        )
        self._table.transact([row, mail])

    def close(
        self, runner: Runner, reason: Reason, *, at: datetime, also: Iterable[Change] = ()
    ) -> bool:
        """End a runner's row and free its room under the ceiling; False when done before.

        `also` is written with it, or not at all.
        """
        ended = RUNNER_ROW.write(runner) | {
            "pk": f"runner#{runner.id}",
            "sk": "runner",
            RECENT: recent_pk("runner", runner.id),
            "changed_at": at,
            "ended_at": at,
            "reason": str(reason),
            "ttl": int((at + KEPT).timestamp()),
        }
        pool = f"pool#{runner.pool}"
        changes = [
            Change(pk=pool, sk=f"runner#{runner.id}", delete=True, when=exists()),
            Change(pk=pool, sk="pool", add={"in_use": -1}),
            Change(pk=ended["pk"], sk=ended["sk"], put=ended),
            *also,
        ]
        if runner.mailbox:
            changes.append(Change(pk=_owner(runner.mailbox), sk="owner", delete=True))
            changes += self._mailboxes.cleared(runner.mailbox)
        return self._close(changes)

    def _close(self, changes: Sequence[Change]) -> bool:
        """Carry out what closes a row; a counter that is no number keeps no runner open."""
        is_closed = self._table.transact_valid(changes)
        if is_closed is not None:
            return is_closed
        sound = [change for change in changes if not change.add or self._counts(change)]
        self._leave_out(
            [f"{change.pk} {change.sk}" for change in changes if change not in sound], INVALID
        )
        return self._table.transact(sound)

    def _counts(self, change: Change) -> bool:
        item = self._table.get(change.pk, change.sk) or {}
        return all(type(item.get(name, 0)) is int for name in change.add)


def pool_of(runner_id: str) -> str:
    """The pool in a runner's id, `rf-<pool>-<12 hex>`."""
    return runner_id.removeprefix(PREFIX).rpartition("-")[0]


def _placing(placement: Placement) -> list[Change]:
    pool = pool_of(placement.runner_id)
    put: Item = {
        "state": RunnerState.IN_FLIGHT,
        "machine_id": placement.machine_id,
        "mailbox": placement.mailbox,
        "capacity": placement.capacity,
    }
    if placement.usd_per_hour is not None:
        put["usd_per_hour"] = placement.usd_per_hour
    owner = {"runner_id": placement.runner_id, "pool": pool}
    return [
        Change(pk=f"pool#{pool}", sk=f"runner#{placement.runner_id}", put=put, when=exists()),
        Change(pk=_owner(placement.mailbox), sk="owner", put=owner),
    ]


def _put(runner: Runner) -> Change:
    item = RUNNER_ROW.write(runner) | {"pk": f"pool#{runner.pool}", "sk": f"runner#{runner.id}"}
    return Change(pk=item["pk"], sk=item["sk"], put=item, when=absent())


def _owner(mailbox: str) -> str:
    return f"owner#{mailbox}"


def _id_of(item: Item) -> str:
    return str(item["sk"]).removeprefix("runner#")


def _names_in(item: Item) -> tuple[str, ...]:
    """The ids of a row's runner and of its machine, where it has one."""
    machine_id = item.get("machine_id")
    return (_id_of(item),) if machine_id is None else (_id_of(item), str(machine_id))


def _noted(item: Item) -> tuple[Runner, Note | None]:
    """A runner with the last note that the fleet made of its machine's reports."""
    return RUNNER_ROW.read(item), NOTE_ROW.read(item) if "noted_mark" in item else None
