"""A project's environments over REST."""

from starlette.responses import Response

from local.gitlab.api.call import READ, Call, Endpoint
from local.gitlab.api.paging import page_of
from local.gitlab.api.views import Json
from local.gitlab.dates import api_date
from local.gitlab.model import Environment


def _view(environment: Environment) -> Json:
    return {
        "id": environment.id,
        "name": environment.name,
        "slug": environment.slug,
        "external_url": environment.external_url,
        "tier": environment.tier,
        "state": "stopped" if environment.is_stopped else "available",
        "created_at": api_date(environment.created_at),
    }


async def list_environments(call: Call) -> Response:
    """GET /projects/:id/environments."""
    name = call.request.query_params.get("name")
    matching = [
        environment
        for environment in call.project().environments.values()
        if name in (None, environment.name)
    ]
    return page_of(call.request, matching, _view)


ENDPOINTS = (Endpoint("GET", "/projects/{project}/environments", list_environments, READ),)
