"""A project's environments over REST."""

from __future__ import annotations

from starlette.responses import Response

from local.gitlab.api.call import READ, Call, Endpoint
from local.gitlab.api.paging import page_of
from local.gitlab.api.views import Json
from local.gitlab.dates import api_date
from local.gitlab.model import Environment


def _view(one: Environment) -> Json:
    return {
        "id": one.id,
        "name": one.name,
        "slug": one.slug,
        "external_url": one.external_url,
        "tier": one.tier,
        "state": "stopped" if one.is_stopped else "available",
        "created_at": api_date(one.created_at),
    }


async def list_environments(call: Call) -> Response:
    """GET /projects/:id/environments."""
    name = call.request.query_params.get("name")
    found = [one for one in call.project().environments.values() if name in (None, one.name)]
    return page_of(call.request, found, _view)


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/projects/{project}/environments",
        handler=list_environments,
        scopes=READ,
    ),
)
