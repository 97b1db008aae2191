"""The ledger's rows of pipelines: which invocation reads the pending jobs of each."""

from datetime import datetime, timedelta
from enum import StrEnum

from boto3.dynamodb.conditions import Attr

from adapters.ledger.table import Change, Rows

# A pipeline's jobs come to be pending within seconds of each other, one webhook each.
PIPELINE_EVERY = timedelta(seconds=10)
LISTING_KEPT = timedelta(hours=1)
# The longest that an execution of the route machine takes, which may still owe a wake.
WAKE_OWED = timedelta(minutes=4)


class Reading(StrEnum):
    """Who reads the pending jobs of a pipeline just now."""

    MINE = "mine"
    UNDER_WAY = "under_way"  # somebody else
    DONE = "done"  # somebody did


class PipelineRows(Rows):
    """Reads and writes of these rows. Every write may be repeated."""

    def claim_pipeline(self, instance: str, pipeline_id: int, *, at: datetime) -> Reading:
        """Claim a pipeline for reading; otherwise say who holds or finished it."""
        pk = _pipeline(instance, pipeline_id)
        told = {
            "listed_at": at.isoformat(),
            "done": False,
            "ttl": int((at + LISTING_KEPT).timestamp()),
        }
        stale = Attr("listed_at").lt((at - PIPELINE_EVERY).isoformat())
        when = Attr("listed_at").not_exists() | stale
        if self._table.write(Change(pk=pk, sk="pipeline", put=told, when=when)):
            return Reading.MINE
        item = self._table.get(pk, "pipeline")
        return Reading.UNDER_WAY if item is not None and not item["done"] else Reading.DONE

    def note_pipeline(
        self, instance: str, pipeline_id: int, *, read: bool, waits: bool = False
    ) -> None:
        """The claimed pipeline was read and its jobs are in the ledger, or may be claimed again.

        `waits`: one of them waits in a pool and wants a runner.
        """
        pk = _pipeline(instance, pipeline_id)
        gone = Change(pk=pk, sk="pipeline", delete=True)
        told = {"done": True, "waits": waits}
        self._table.write(Change(pk=pk, sk="pipeline", put=told) if read else gone)

    def owes_wake(self, instance: str, pipeline_id: int, *, at: datetime) -> bool:
        """Whether jobs of a pipeline were routed lately whose reader may not have woken scaling.

        It does so last. Its death in between shows nowhere, so whoever comes by wakes again.
        """
        item = self._table.get(_pipeline(instance, pipeline_id), "pipeline")
        if item is None or "listed_at" not in item:
            return False
        is_late = at - datetime.fromisoformat(item["listed_at"]) > WAKE_OWED
        return not is_late and bool(not item["done"] or item.get("waits"))


def _pipeline(instance: str, pipeline_id: int) -> str:
    return f"pipeline#{instance}#{pipeline_id}"
