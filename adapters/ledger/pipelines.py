"""The ledger's rows of pipelines: which invocation reads the pending jobs of each."""

from datetime import datetime, timedelta
from enum import StrEnum

from boto3.dynamodb.conditions import Attr

from adapters.ledger.table import Change, Rows, time_of
from fleet.rules.pipeline import READ_AGAIN_AFTER, is_wake_owed

LISTING_KEPT = timedelta(hours=1)


class Reading(StrEnum):
    """Who reads the pending jobs of a pipeline just now."""

    MINE = "mine"
    UNDER_WAY = "under_way"  # another invocation reads them
    DONE = "done"  # another invocation has read them


class PipelineRows(Rows):
    """Reads and writes of these rows. Every write may be repeated."""

    def claim_pipeline(self, instance: str, pipeline_id: int, *, at: datetime) -> Reading:
        """Claim a pipeline for reading; otherwise say who holds or finished it."""
        pk = _pipeline(instance, pipeline_id)
        put = {"listed_at": at, "done": False, "ttl": int((at + LISTING_KEPT).timestamp())}
        when = Attr("listed_at").not_exists() | Attr("listed_at").lt(at - READ_AGAIN_AFTER)
        if self._table.write(Change(pk=pk, sk="pipeline", put=put, when=when)):
            return Reading.MINE
        item = self._table.get(pk, "pipeline")
        return Reading.UNDER_WAY if item is not None and not item.get("done") else Reading.DONE

    def note_pipeline(
        self, instance: str, pipeline_id: int, *, read: bool, waits: bool = False
    ) -> None:
        """End a claim: the jobs are in the ledger (`read`), or the pipeline is free again.

        `waits`: at least one of the jobs waits in a pool for a runner.
        """
        pk = _pipeline(instance, pipeline_id)
        free = Change(pk=pk, sk="pipeline", delete=True)
        done = Change(pk=pk, sk="pipeline", put={"done": True, "waits": waits})
        self._table.write(done if read else free)

    def owes_wake(self, instance: str, pipeline_id: int, *, at: datetime) -> bool:
        """Whether the reader of a pipeline routed its jobs lately and may not have woken scaling.

        The wake is its last act, and a reader that dies before it leaves no other mark.
        """
        item = self._table.get(_pipeline(instance, pipeline_id), "pipeline")
        listed_at = time_of(item, "listed_at")
        if item is None or listed_at is None:
            return False
        return is_wake_owed(
            listed_at, is_done=bool(item.get("done")), waits=bool(item.get("waits")), at=at
        )


def _pipeline(instance: str, pipeline_id: int) -> str:
    return f"pipeline#{instance}#{pipeline_id}"
