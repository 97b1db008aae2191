"""Whether the webhook that proved a job event may speak for the event's project."""

from fleet.events import WARNING, DeliveryOutside, emit
from fleet.job_event import JobEvent
from fleet.rules.hook_reach import ProjectGroups, may_speak
from fleet.webhook_secrets import scope_of_name
from orchestrator.world import World


def is_within_reach(world: World, event: JobEvent) -> bool:
    """Whether its webhook may speak for its project; GitLab is asked where nothing is known.

    The webhook function compares a project's webhook, and knows no groups: it reaches neither
    GitLab nor the ledger.
    """
    scope = scope_of_name(event.hook) if event.hook else None
    if scope is None:
        return True  # the webhook function names one in each event, and it alone may send any
    at, project_id = world.clock(), event.project_id
    known = world.fleet.groups_of(world.instance, project_id) if scope.kind == "group" else None
    is_within = may_speak(scope, project_id, known, at)
    if is_within is None:
        known = ProjectGroups(ids=world.gitlab.groups_above(project_id), asked_at=at)
        world.fleet.note_groups(world.instance, project_id, known)
        is_within = bool(may_speak(scope, project_id, known, at))
    if not is_within:
        outside = DeliveryOutside(hook=str(scope), project_id=project_id, job_id=event.job_id)
        emit(outside, level=WARNING)
    return is_within
