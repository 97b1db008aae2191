"""The ledger's rows of the projects whose pending jobs the fleet reads."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from boto3.dynamodb.conditions import Attr, ConditionBase

from adapters.ledger.hooks import HookRows
from adapters.ledger.table import Change, Table, read_time
from fleet.rules.reconcile import Watched

HEARD_EVERY = timedelta(minutes=1)


class ProjectRows(HookRows):
    """Reads and writes of these rows, by the health of their webhooks."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._heard: dict[tuple[str, int], datetime] = {}

    def heard_from(self, instance: str, project_id: int, path: str, *, at: datetime) -> None:
        """A hook of this project came, which makes it one that is watched closely."""
        # A busy project is written once a minute, not once a hook, and is asked about by few.
        if at - self._heard.get((instance, project_id), at - HEARD_EVERY) < HEARD_EVERY:
            return
        told = {"last_hook_at": at.isoformat(), "path": path}
        stale = Attr("last_hook_at").lt((at - HEARD_EVERY).isoformat())
        when = Attr("last_hook_at").not_exists() | stale
        self._watch(instance, project_id, told, at, when=when)
        self._heard[instance, project_id] = at

    def watch(self, instance: str, project_id: int, path: str, *, at: datetime) -> None:
        """Watch a project from now on; an empty path leaves a known one as it is."""
        self._watch(instance, project_id, {"path": path} if path else {}, at)

    def note_polled(self, instance: str, project_id: int, *, at: datetime) -> None:
        """Its pending jobs were read."""
        self._watch(instance, project_id, {"last_polled_at": at.isoformat()}, at)

    def watched(self, instance: str) -> tuple[Watched, ...]:
        """Every project whose pending jobs are read."""
        unhealthy = {hook.scope for hook in self.hooks(instance) if not hook.healthy}
        # Which projects a group has is not kept: a sick group hook makes all of them urgent.
        in_groups = any(scope.startswith("group:") for scope in unhealthy)
        items = self._table.query_index("recent", "kind", "project")
        return tuple(
            Watched(
                project_id=item["project_id"],
                instance=item["instance"],
                last_hook_at=read_time(item.get("last_hook_at")),
                last_polled_at=read_time(item.get("last_polled_at")),
                hook_healthy=f"project:{item['project_id']}" not in unhealthy and not in_groups,
                path=item.get("path", ""),
            )
            for item in items
            if item["instance"] == instance
        )

    def listing_due(self, instance: str, *, at: datetime, every: timedelta) -> bool:
        """Whether the projects of groups were not listed for so long."""
        item = self._table.get(f"watch#{instance}", "groups")
        return item is None or at - datetime.fromisoformat(item["listed_at"]) >= every

    def note_listed(self, instance: str, *, at: datetime) -> None:
        """The projects of groups were listed."""
        told = {"listed_at": at.isoformat()}
        self._table.write(Change(pk=f"watch#{instance}", sk="groups", put=told))

    def _watch(
        self,
        instance: str,
        project_id: int,
        told: Mapping[str, object],
        at: datetime,
        *,
        when: ConditionBase | None = None,
    ) -> None:
        identity = {"instance": instance, "project_id": project_id, "kind": "project"}
        self._table.write(
            Change(
                pk=f"project#{instance}#{project_id}",
                sk="project",
                put=told,
                once=identity | {"changed_at": at.isoformat()},
                when=when,
            )
        )
