"""The mailboxes' table as the fleet uses it: credentials and orders in, reports out.

A machine may write anything into its own mailbox. Nothing there is in an index, and a report is
read within bounds, one at a time.
"""

from collections.abc import Iterable
from datetime import datetime

from adapters.ledger.table import Change, Item, Rows, Table
from fleet.errors import Refused
from fleet.machine.mailbox import CREDENTIAL, ORDER, REPORT, Credential, Order, Report, Sealer


class MailboxRows(Rows):
    """All mailboxes. Without a sealer it writes no credential."""

    def __init__(self, table: Table, sealer: Sealer | None = None) -> None:
        super().__init__(table)
        self._sealer = sealer

    def credential(self, mailbox_id: str, credential: Credential) -> Change:
        """The change that leaves a credential for the machine. Raises `Transient` or `Refused`."""
        if self._sealer is None:
            raise Refused("this role seals no credential")
        return self._put(credential.item(mailbox_id, self._sealer))

    def order(self, mailbox_id: str, order: Order, *, expires_at: datetime) -> Change:
        """The change that leaves an order for the machine."""
        return self._put(order.item(mailbox_id, expires_at=expires_at))

    def cleared(self, mailbox_id: str) -> list[Change]:
        """The changes that empty a mailbox of all that the fleet and its machine leave there."""
        return [
            Change(table=self._table.name, pk=mailbox_id, sk=sk, delete=True)
            for sk in (CREDENTIAL, REPORT, ORDER)
        ]

    def reports(self, mailbox_ids: Iterable[str]) -> dict[str, Report]:
        """The last report in each mailbox that has a readable one."""
        items = self._table.each((mailbox_id, REPORT) for mailbox_id in mailbox_ids)
        return dict(self._readable(_report, items))

    def _put(self, item: Item) -> Change:
        return Change(table=self._table.name, pk=item["pk"], sk=item["sk"], put=item)


def _report(item: Item) -> tuple[str, Report]:
    return item["pk"], Report.of_item(item)
