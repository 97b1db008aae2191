"""The environment of the orchestrator's functions, read once at cold start, a class for each.

The variables are set by `infra/template.yaml`; a name that is missing there fails here, at start.
"""

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Name = Annotated[str, Field(min_length=1)]


def _comma_separated(value: Any) -> Any:
    return tuple(part for part in value.split(",") if part) if isinstance(value, str) else value


def _seconds(value: Any) -> Any:
    return timedelta(seconds=float(value)) if isinstance(value, str | int | float) else value


class FleetSettings(BaseSettings):
    """What each of them knows: which stack it belongs to, and how long it may remember."""

    model_config = SettingsConfigDict(frozen=True, env_prefix="FLEET_", extra="ignore")

    stack: Name
    cache_ttl: Annotated[timedelta, BeforeValidator(_seconds)] = Field(
        default=timedelta(seconds=60),
        ge=timedelta(0),
        description="FLEET_CACHE_TTL, seconds that secrets and configuration are kept in memory",
    )


class RouteSettings(FleetSettings):
    """Environment of `route`."""

    ledger_table: Name
    gitlab_secret: Name
    ec2_queue_url: Name
    lambda_queue_url: Name


class DemandSettings(RouteSettings):
    """What the functions share that send demand again, or give it up."""

    ec2_dead_letter_url: Name
    lambda_dead_letter_url: Name


class ScaleSettings(DemandSettings):
    """Environment of `scale`."""

    pool_secret_prefix: Name
    launch_template: Name
    subnets: Annotated[tuple[Name, ...], NoDecode, BeforeValidator(_comma_separated)] = Field(
        min_length=1
    )
    sweep_arn: Name
    expiry_role: Name
    expiry_dead_letter_arn: Name
    schedule_group: Name
    cache_bucket: Name
    machine_role_id: Name
    runner_function_prefix: Name


class SettleSettings(DemandSettings):
    """Environment of `settle`."""

    machine_role_id: Name


class ReconcileSettings(DemandSettings):
    """Environment of `reconcile`."""

    pool_secret_prefix: Name
    webhook_secret: Name


class SweepSettings(DemandSettings):
    """Environment of `sweep`."""

    machine_role_id: Name
