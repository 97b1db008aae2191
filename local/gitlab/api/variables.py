"""CI/CD variables of projects and groups over REST."""

import re
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from local.gitlab.api.call import READ, WRITE, ApiError, Call, Endpoint, not_found
from local.gitlab.api.views import Json
from local.gitlab.model import Group, Project, SecretVariable

# What GitLab can hide in a log. Source: GitLab docs, "Mask a CI/CD variable".
_MASKABLE = re.compile(r"[a-zA-Z0-9_+=/@:.~-]{8,}", re.ASCII)
_SCOPE = r"^[a-zA-Z0-9_/\\${}. *-]+$"
_MASKABLE_RAW = re.compile(r"\S{8,}")


class NewVariable(BaseModel):
    """Body of `POST …/variables`."""

    key: str = Field(pattern=r"^[a-zA-Z0-9_]{1,255}$")
    value: str
    variable_type: Literal["env_var", "file"] = "env_var"
    protected: bool = False
    masked: bool = False
    masked_and_hidden: bool = False
    raw: bool = False
    environment_scope: str = Field(default="*", pattern=_SCOPE, max_length=255)
    description: str | None = None


class VariableChange(BaseModel):
    """Body of `PUT …/variables/:key`: absent fields stay."""

    value: str | None = None
    variable_type: Literal["env_var", "file"] | None = None
    protected: bool | None = None
    masked: bool | None = None
    raw: bool | None = None
    environment_scope: str | None = Field(default=None, pattern=_SCOPE, max_length=255)
    description: str | None = None


def _find(call: Call, owner: Project | Group) -> SecretVariable:
    """The variable of the path. Raises 404, or 409 when several scopes have the key."""
    scope = call.request.query_params.get("filter[environment_scope]")
    key = call.path("key")
    variables = [
        variable
        for variable in owner.variables
        if variable.key == key and scope in (None, variable.environment_scope)
    ]
    if len(variables) > 1:
        raise ApiError(
            409,
            "There are multiple variables with provided parameters. "
            "Please use 'filter[environment_scope]'",
        )
    if not variables:
        raise not_found("Variable")
    return variables[0]


def _check(owner: Project | Group, wanted: SecretVariable, old: SecretVariable | None) -> None:
    if wanted.is_masked:
        pattern = _MASKABLE_RAW if wanted.is_raw else _MASKABLE
        if not pattern.fullmatch(wanted.value):
            raise ApiError(400, {"value": ["is invalid"]})
    for other in owner.variables:
        same = (other.key, other.environment_scope) == (wanted.key, wanted.environment_scope)
        if same and other is not old:
            raise ApiError(400, {"key": [f"({wanted.key}) has already been taken"]})


def _view(variable: SecretVariable) -> Json:
    return {
        "variable_type": "file" if variable.is_file else "env_var",
        "key": variable.key,
        "value": None if variable.is_hidden else variable.value,
        "hidden": variable.is_hidden,
        "protected": variable.is_protected,
        "masked": variable.is_masked,
        "raw": variable.is_raw,
        "environment_scope": variable.environment_scope,
        "description": variable.description,
    }


async def list_variables(call: Call) -> Response:
    """GET …/variables."""
    return JSONResponse([_view(variable) for variable in call.owner().variables])


async def get_variable(call: Call) -> Response:
    """GET …/variables/:key."""
    return JSONResponse(_view(_find(call, call.owner())))


async def create_variable(call: Call) -> Response:
    """POST …/variables."""
    owner = call.owner()
    wanted = await call.body(NewVariable)
    made = SecretVariable(
        key=wanted.key,
        value=wanted.value,
        is_file=wanted.variable_type == "file",
        is_protected=wanted.protected,
        is_masked=wanted.masked or wanted.masked_and_hidden,
        is_hidden=wanted.masked_and_hidden,
        is_raw=wanted.raw,
        environment_scope=wanted.environment_scope,
        description=wanted.description,
    )
    _check(owner, made, None)
    owner.variables.append(made)
    return JSONResponse(_view(made), status_code=201)


async def change_variable(call: Call) -> Response:
    """PUT …/variables/:key."""
    owner = call.owner()
    old = _find(call, owner)
    change = await call.body(VariableChange)
    requested: dict[str, Any] = {
        "value": change.value,
        "is_file": None if change.variable_type is None else change.variable_type == "file",
        "is_protected": change.protected,
        "is_masked": change.masked,
        "is_raw": change.raw,
        "environment_scope": change.environment_scope,
        "description": change.description,
    }
    new = replace(old, **{name: value for name, value in requested.items() if value is not None})
    if old.is_hidden and not new.is_masked:
        raise ApiError(400, {"base": ["The visibility setting cannot be changed"]})
    _check(owner, new, old)
    owner.variables[owner.variables.index(old)] = new
    return JSONResponse(_view(new))


async def delete_variable(call: Call) -> Response:
    """DELETE …/variables/:key."""
    owner = call.owner()
    owner.variables.remove(_find(call, owner))
    return Response(status_code=204)


def _endpoints(base: str) -> tuple[Endpoint, ...]:
    item = f"{base}/{{key}}"
    return (
        Endpoint("GET", base, list_variables, READ),
        Endpoint("POST", base, create_variable, WRITE),
        Endpoint("GET", item, get_variable, READ),
        Endpoint("PUT", item, change_variable, WRITE),
        Endpoint("DELETE", item, delete_variable, WRITE),
    )


ENDPOINTS = (*_endpoints("/projects/{project}/variables"), *_endpoints("/groups/{group}/variables"))
