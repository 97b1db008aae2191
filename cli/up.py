"""`runner-fleet up`: from a fleet.toml to a green pipeline, in steps that may be repeated."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from adapters.aws.clients import Clients, clients
from adapters.gitlab.client import GitLab
from adapters.gitlab.hook_values import HookTarget
from adapters.gitlab.values import GitLabJob, GitLabProject
from adapters.gitlab.way import Way
from cli.apply import confirm_removal, lines as applied_lines, plan_lines
from cli.commands import DEFAULT_STACK, FILE, use_stack
from cli.deploy import Parameters, packed
from cli.doctor import show
from cli.image import BuildChoice, ImageWorld, build_images, put_to_use
from cli.lines import say
from cli.options import FileArgument, InJson, Local, Region, Stack, Yes
from cli.pairs import read_pair
from cli.validate import read_file
from fleet.config.reading import FleetConfig
from fleet.errors import Refused
from fleet.hook_scope import HookScope
from fleet.job_event import instance_of
from fleet.words import counted
from infra.package import sources_version
from operations import images
from operations.account import caller
from operations.apply import apply_to, check_lambda_pools
from operations.deploy import Deployment, deploy
from operations.deploy_check import check_deployment
from operations.doctor import Patient, examine
from operations.first_pipeline import Patience, PipelineProject, pools_to_test, run_pipeline
from operations.fleet_handle import find
from operations.gitlab_access import connect, token_in, way_to
from operations.gitlab_reach import check_reach
from operations.image_ages import kinds_to_build
from operations.plan import plan_config, plan_stack
from operations.stacks import parameters_of
from operations.token_set import store_token
from operations.webhooks import HookAddress, register_once, wiring

TokenEnv = Annotated[
    str, typer.Option("--token-env", help="Environment variable that holds the GitLab token.")
]
TestProject = Annotated[
    str | None,
    typer.Option("--test-project", help="Project in which a test pipeline runs, on a branch."),
]
STEPS = 7
# Group webhooks need GitLab Premium, or a token of an owner.
NO_GROUP_HOOKS = (403, 404)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpWorld:
    """AWS and the packing. Tests put their own into the context."""

    aws: Callable[[str], Clients] = field(default=lambda region: clients(region=region))
    pack: Callable[[], bytes] = packed
    every_s: float = 5.0
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True, kw_only=True)
class _UpRun:
    """One invocation: what was asked for, and what it works with."""

    world: UpWorld
    aws: Clients
    stack: str
    path: Path
    text: str
    config: FleetConfig
    token: str = field(repr=False)
    way: Way
    parameters: dict[str, str]
    yes: bool

    @property
    def gitlab(self) -> GitLab:
        """GitLab with the token of the environment."""
        return connect(self.config.gitlab.url, self.token, self.way)


def up(  # noqa: PLR0913  # a command's parameters are its options
    ctx: typer.Context,
    path: FileArgument = FILE,
    *,
    stack: Stack = DEFAULT_STACK,
    region: Region = "",
    _local: Local = False,
    as_json: InJson = False,
    parameter: Parameters = None,
    token_env: TokenEnv = "GITLAB_TOKEN",  # noqa: S107  # a variable's name
    test_project: TestProject = None,
    yes: Yes = False,
) -> None:
    """Bring the fleet of a fleet.toml up, and prove it with a pipeline; may be repeated.

    Example: runner-fleet up --test-project acme/playground
    """
    use_stack(stack)
    world = ctx.obj if isinstance(ctx.obj, UpWorld) else UpWorld()
    text, config = read_file(path)
    run = _UpRun(
        world=world,
        aws=world.aws(region),
        stack=stack,
        path=path,
        text=text,
        config=config,
        token=token_in(token_env),
        way=way_to(config.gitlab, path),
        parameters=dict(read_pair(pair, "a parameter") for pair in parameter or ()),
        yes=yes,
    )
    for number, (step, lines) in enumerate(_steps(run, test_project), start=1):
        for line in lines:
            if as_json:
                say(line, step=step, number=number, of=STEPS)
            else:
                say(f"[{number}/{STEPS}] {step}: {line}")


def _steps(run: _UpRun, test_project: str | None) -> Iterator[tuple[str, Iterator[str]]]:
    yield "account", _account(run)
    yield "deploy", _deploy(run)
    yield "images", _images(run)
    yield "apply", _apply(run)
    yield "webhook", _webhook(run)
    yield "doctor", _doctor(run)
    yield "test", _test(run, test_project)


def _account(run: _UpRun) -> Iterator[str]:
    identity = caller(run.aws)
    yield f"{identity.account} in {identity.region}"
    yield f"GitLab {run.gitlab.version()} at {run.config.gitlab.url}"


def _deploy(run: _UpRun) -> Iterator[str]:
    deployment = Deployment(stack=run.stack, parameters=run.parameters, every_s=run.world.every_s)
    check_deployment(run.aws, deployment)
    plan = plan_stack(run.aws, run.stack)
    if not plan.is_change and _has(run, run.parameters):
        yield f"{run.stack} is there, version {plan.after}"
        return
    yield f"{plan.before or 'nothing'} -> {sources_version()}, which takes some minutes"
    done = deploy(run.aws, deployment, run.world.pack())
    yield from done.notes
    yield f"{run.stack} is {done.word}"
    works, sentence = check_reach(run.aws, run.stack, run.config.gitlab.url, run.way)
    if not works:
        raise Refused(sentence)
    yield sentence


def _has(run: _UpRun, parameters: dict[str, str]) -> bool:
    return parameters.items() <= parameters_of(run.aws, run.stack).items()


def _images(run: _UpRun) -> Iterator[str]:
    """Those of the pools' machines; built where there are none, or of other code's sources."""
    workshop = images.workshop_of(run.aws, run.stack)
    wanted = tuple(kind.name for kind in kinds_to_build(workshop, run.config))
    if wanted:
        yield f"the stack has none of its code's sources for {', '.join(wanted)}"
        world = ImageWorld(aws=run.aws, every_s=run.world.every_s)
        built = build_images(world, workshop, BuildChoice(kinds=wanted))
        put_to_use(world, workshop, built, run.parameters)
        workshop = images.workshop_of(run.aws, run.stack)
    for kind in images.kinds_for(run.config):
        yield f"{kind.name} machines start from {workshop.used[kind.parameter]}"


def _apply(run: _UpRun) -> Iterator[str]:
    deployed = find(run.stack, run.aws)
    check_lambda_pools(run.config, wall=deployed.lambda_wall, largest=deployed.largest_runner)
    planned = plan_config(run.text, deployed)
    yield from plan_lines(planned)
    confirm_removal(planned, yes=run.yes)
    applied = apply_to(deployed, run.text, run.gitlab, tls_ca=run.way.tls_ca)
    if store_token(deployed, run.token):
        yield "stored the GitLab token"
    yield from applied_lines(applied)


def _webhook(run: _UpRun) -> Iterator[str]:
    """On each watched group, else, without group webhooks, on its projects; on each project."""
    gitlab = run.gitlab
    scopes = [HookScope(kind="project", id=project.id) for project in _projects(run, gitlab)]
    for group in _groups(run, gitlab):
        try:
            yield _register(run, gitlab, HookScope(kind="group", id=group))
        except Refused as error:
            if error.facts.get("status") not in NO_GROUP_HOOKS:
                raise
            yield f"group {group} takes no webhook ({error}): each of its projects gets a webhook"
            projects = gitlab.group_projects(group)
            scopes += [HookScope(kind="project", id=project.id) for project in projects]
    for scope in dict.fromkeys(scopes):
        yield _register(run, gitlab, scope)
    if not scopes and not _groups(run, gitlab):
        yield "fleet.toml names no project or group: run `runner-fleet webhook register`"


def _projects(run: _UpRun, gitlab: GitLab) -> list[GitLabProject]:
    where = run.config.gitlab.runners_in
    names: list[int | str] = [*run.config.gitlab.watch.projects]
    names += [where.id] if where.kind == "project" and where.id is not None else []
    return [gitlab.project(name) for name in names]


def _groups(run: _UpRun, gitlab: GitLab) -> list[int]:
    where = run.config.gitlab.runners_in
    names: list[int | str] = [*run.config.gitlab.watch.groups]
    names += [where.id] if where.kind == "group" and where.id is not None else []
    return list(dict.fromkeys(gitlab.group(name) for name in names))


def _register(run: _UpRun, gitlab: GitLab, scope: HookScope) -> str:
    world = wiring(run.aws, run.stack)
    address = HookAddress(
        gitlab=gitlab,
        instance=instance_of(run.config.gitlab.url),
        target=HookTarget(scope=scope, url=world.url),
    )
    done = register_once(world, address)
    if done.own is None:
        above = done.above
        return f"{scope} has its jobs by hook {above.hook_id} on {above.scope}" if above else ""
    twice = (
        f"; {done.above.scope} has a webhook, too: each event arrives twice" if done.above else ""
    )
    word = "registered" if done.own.changed else "is registered"
    return f"{scope} {word}, hook {done.own.hook_id}{twice}"


def _doctor(run: _UpRun) -> Iterator[str]:
    checks = list(examine(Patient(aws=run.aws, stack=run.stack, file=run.path)))
    bad = [checked for checked in checks if checked.result == "failure"]
    for checked in bad:
        show(checked)
    warned = sum(checked.result == "warning" for checked in checks)
    if bad:
        raise Refused(
            f"{len(bad)} of {len(checks)} checks are bad: correct them, then run this again"
        )
    yield f"{len(checks)} checks, none is bad, {warned} warnings: `runner-fleet doctor` lists them"


def _test(run: _UpRun, project: str | None) -> Iterator[str]:
    pools = pools_to_test(run.config.pools)
    if project is None or not pools:
        yield "left out: give --test-project acme/demo for a job in each pool, on a branch"
        return
    gitlab = run.gitlab
    where = PipelineProject(
        gitlab=gitlab,
        project=gitlab.project(project),
        url=run.config.gitlab.url,
        token=run.token,
        way=run.way,
    )
    shown: dict[int, str] = {}
    jobs: tuple[GitLabJob, ...] = ()
    for jobs in run_pipeline(where, pools, run.world.patience):
        for job in jobs:
            if shown.get(job.id) != job.status:
                shown[job.id] = job.status
                yield f"job {job.id} {job.name} is {job.status}"
    if any(job.status != "success" for job in jobs):
        failed = next(job.id for job in jobs if job.status != "success")
        raise Refused(f"the test pipeline is not green: run `runner-fleet explain {failed}`")
    yield f"the pipeline is green: {counted(len(jobs), 'job')} on runners made for them"
