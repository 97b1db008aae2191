"""The list of watched projects: those that fleet.toml names, and those of watched groups."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import takewhile

from adapters.gitlab.values import GitLabProject
from fleet.errors import FleetError
from fleet.events import WARNING, WorkPutOff, emit
from fleet.rules.calls import GROUPS_EVERY
from orchestrator.world import World


def refresh_watched(world: World, has_time: Callable[[], bool]) -> None:
    """Put the projects of watched groups, and those that fleet.toml names, on the list.

    A listing that fails, or for which there is no time, is done the next time; the others go on.
    """
    at = world.clock()
    if not has_time() or not world.fleet.listing_due(world.instance, at=at, every=GROUPS_EVERY):
        return
    watched = world.fleet.watched(world.instance)
    paths = {project.project_id: project.path for project in watched}
    listings = [partial(_project, world, project) for project in _projects(world)]
    listings += [partial(world.gitlab.group_projects, group) for group in _groups(world)]
    for listing in listings:
        try:
            for project in takewhile(lambda _: has_time(), listing()):
                if paths.get(project.id) != project.path:
                    world.fleet.watch(world.instance, project.id, project.path, at=at)
        except FleetError as exc:
            emit(WorkPutOff(doing="list projects", error=str(exc)), level=WARNING)
    world.fleet.note_listed(world.instance, at=at)


def _project(world: World, id_or_path: int | str) -> Iterator[GitLabProject]:
    yield world.gitlab.project(id_or_path)


def _projects(world: World) -> tuple[int | str, ...]:
    """The projects that fleet.toml names, and the one that has our runners."""
    where = world.config.gitlab.runners_in
    own = [where.id] if where.kind == "project" and where.id is not None else []
    return (*world.config.gitlab.watch.projects, *own)


def _groups(world: World) -> tuple[int | str, ...]:
    """The groups that fleet.toml names, that have our runners, and that have our webhook."""
    scopes = (hook.scope for hook in world.fleet.hooks(world.instance))
    where = world.config.gitlab.runners_in
    return tuple(
        dict.fromkeys(
            [
                *world.config.gitlab.watch.groups,
                *([where.id] if where.kind == "group" and where.id is not None else []),
                *(scope.id for scope in scopes if scope.kind == "group"),
            ]
        )
    )
