"""The ledger's rows of the projects whose pending jobs the fleet reads."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from boto3.dynamodb.conditions import Attr, ConditionBase

from adapters.ledger.hooks import HookRows
from adapters.ledger.rows import RowType
from adapters.ledger.table import Change, Item, Table, time_of
from fleet.rules.hook_reach import ProjectGroups
from fleet.rules.polls import Watched

HEARD_EVERY = timedelta(minutes=1)
GROUPS_KEPT = timedelta(days=1)
GROUPS_ROW = RowType(of=ProjectGroups)
WATCHED_ROW = RowType(of=Watched, elsewhere=frozenset({"hook_healthy", "is_moving"}))


class ProjectRows(HookRows):
    """Reads and writes of these rows, joined with the health of their webhooks."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._heard: dict[tuple[str, int], datetime] = {}  # by project, the last noted delivery

    def note_project_delivery(
        self, instance: str, project_id: int, path: str, *, at: datetime
    ) -> None:
        """Record a delivery of this project, at most one a minute; such projects come first."""
        if at - self._heard.get((instance, project_id), at - HEARD_EVERY) < HEARD_EVERY:
            return
        stale = Attr("last_hook_at").lt(at - HEARD_EVERY)
        when = Attr("last_hook_at").not_exists() | stale
        self._watch(instance, project_id, {"last_hook_at": at, "path": path}, at, when=when)
        self._heard[instance, project_id] = at

    def watch(self, instance: str, project_id: int, path: str, *, at: datetime) -> None:
        """Watch a project from now on; an empty path leaves a recorded path as it is."""
        self._watch(instance, project_id, {"path": path} if path else {}, at)

    def note_polled(self, instance: str, project_id: int, *, at: datetime) -> None:
        """Record that the fleet read its pending jobs."""
        self._watch(instance, project_id, {"last_polled_at": at}, at)

    def groups_of(self, instance: str, project_id: int) -> ProjectGroups | None:
        """The groups that a project is in, as GitLab said last; None: not lately, or unreadable."""
        item = self._table.get(_project(instance, project_id), "groups")
        return self._readable_one(GROUPS_ROW.read, item)

    def note_groups(self, instance: str, project_id: int, groups: ProjectGroups) -> None:
        """Record the groups that a project is in."""
        ttl = int((groups.asked_at + GROUPS_KEPT).timestamp())
        pk = _project(instance, project_id)
        self._table.write(GROUPS_ROW.replacing(pk, "groups", groups, ttl=ttl))

    def watched(self, instance: str) -> tuple[Watched, ...]:
        """Every project whose pending jobs the fleet reads."""
        unhealthy = [hook.scope for hook in self.hooks(instance) if not hook.healthy]

        def read(item: Item) -> Watched:
            is_healthy = not any(scope.may_serve(item.get("project_id", 0)) for scope in unhealthy)
            return WATCHED_ROW.read(item, hook_healthy=is_healthy)

        items = self._table.query_index("kinds", "kind", "project")
        ours = (item for item in items if item.get("instance") == instance)
        return tuple(self._readable(read, ours))

    def listing_due(self, instance: str, *, at: datetime, every: timedelta) -> bool:
        """Whether the last listing of the groups' projects is older than `every`."""
        listed_at = time_of(self._table.get(f"watch#{instance}", "groups"), "listed_at")
        return listed_at is None or at - listed_at >= every

    def note_listed(self, instance: str, *, at: datetime) -> None:
        """Record that the projects of groups were listed."""
        self._table.write(Change(pk=f"watch#{instance}", sk="groups", put={"listed_at": at}))

    def _watch(
        self,
        instance: str,
        project_id: int,
        put: Mapping[str, object],
        at: datetime,
        *,
        when: ConditionBase | None = None,
    ) -> None:
        identity = {"instance": instance, "project_id": project_id, "kind": "project"}
        self._table.write(
            Change(
                pk=_project(instance, project_id),
                sk="project",
                put=put,
                once=identity | {"changed_at": at},
                when=when,
            )
        )


def _project(instance: str, project_id: int) -> str:
    return f"project#{instance}#{project_id}"
