"""The environment of the orchestrator's functions, read once at cold start.

All of them have the same variables, set by `infra/template.yaml`; what a function may do with what
they name is for its role to say. A name that is missing there fails here, at start.
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


class OrchestratorSettings(BaseSettings):
    """FLEET_ and the name of each field in capitals; every one must be set."""

    model_config = SettingsConfigDict(frozen=True, env_prefix="FLEET_", extra="ignore")

    stack: Name
    cache_ttl: Annotated[timedelta, BeforeValidator(_seconds)] = Field(
        ge=timedelta(0),
        description="seconds that secrets and configuration are kept in memory",
    )
    ledger_table: Name
    mailbox_table: Name
    mailbox_key: Name
    gitlab_secret: Name
    webhook_secret: Name
    pool_secret_prefix: Name
    ec2_queue_url: Name
    lambda_queue_url: Name
    ec2_dead_letter_url: Name
    lambda_dead_letter_url: Name
    launch_template: Name
    protected_launch_template: Name
    arm64_image: Name  # of machines; the launch templates name that of x86-64
    subnets: Annotated[tuple[Name, ...], NoDecode, BeforeValidator(_comma_separated)] = Field(
        min_length=1
    )
    sweep_arn: Name
    expiry_role: Name
    expiry_dead_letter_arn: Name
    schedule_group: Name
    cache_bucket: Name
    cache_role: Name
    machine_role_id: Name
    protected_machine_role_id: Name
    runner_function_prefix: Name
    tenant_isolation: bool
