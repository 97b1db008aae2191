"""The end of the fleet's own GitLab token, asked in time for `status` to warn."""

from fleet.errors import FleetError, Transient
from fleet.events import WARNING, WorkPutOff, emit
from fleet.rules.calls import TOKEN_EVERY, is_due
from orchestrator.world import World


def check_token_life(world: World) -> None:
    """Once a day, ask GitLab when the fleet's token expires: `status` warns in time."""
    at = world.clock()
    asked_at, _ = world.fleet.token_life()
    if not is_due(asked_at, every=TOKEN_EVERY, at=at):
        return
    try:
        expires_on = world.gitlab.own_token().expires_at
    except FleetError as exc:
        emit(WorkPutOff(doing="look at the token", error=str(exc)), level=WARNING)
        if isinstance(exc, Transient):
            return
        expires_on = None  # an OAuth token, say, has no such day
    world.fleet.note_token_life(expires_on, at=at)
