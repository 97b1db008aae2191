"""A laptop made ready for many runs, one after the other."""

import random
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from botocore.exceptions import BotoCoreError, ClientError

from fleet.errors import Transient
from local.aws.engine import EngineOptions, wait_until
from local.aws.stack import StackOptions
from local.beat import Beat
from local.canaries import exposed_secrets
from local.chaos.ec2_proxy import Ec2Proxy
from local.chaos.evidence import leaked, machines_since, trail
from local.chaos.faults.fault import Fault
from local.chaos.fleet_file import POOLS, PROJECT, FleetFile, Periods
from local.chaos.gitlab_eye import GitLabEye
from local.chaos.judge import ChaosResult, Evidence, judge, unfinished
from local.chaos.observer import Observer
from local.chaos.scene import Scene
from local.gitlab.chaos import ApiChaos, ChaosOrder, WebhookChaos
from local.gitlab.options import Options as GitLabOptions, Timeouts
from local.gitlab.seed import SeededProject, create_project
from local.laptop import ContainerOptions, Laptop, LaptopOptions

LOOK_EVERY_S = 0.4
WARM_WITHIN_S = 60.0
# EC2 forgets in an hour, a fault lasts a minute or two.
FORGETS_AFTER_S = 5.0
# A queue shows a message again two minutes after the function that held it was cut off.
CLOSED_WITHIN_S = 150.0
CALM = ChaosOrder(webhooks=WebhookChaos(), api=ApiChaos(), hook_disabled=False)


class Stage:
    """A context. Faults with the same `periods` and `keeps_state` may share one."""

    def __init__(
        self,
        data: Path,
        periods: Periods,
        *,
        keeps_state: bool = False,
        containers: ContainerOptions | None = None,
    ) -> None:
        self._containers = containers
        self._periods = periods
        self._keeps_state = keeps_state
        self._closing = ExitStack()
        self._runs = 0
        self._proxy = Ec2Proxy(forgets_after_s=FORGETS_AFTER_S)
        self._laptop = Laptop(data, self._options())
        self._project: SeededProject | None = None

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.callback(self._closing.close)
            self._start()
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _start(self) -> None:
        engine = self._laptop.engine
        self._closing.enter_context(self._proxy)
        self._proxy.forward_to(engine.url, engine.session())
        self._closing.enter_context(self._laptop)
        self._proxy.at_work = GitLabEye(self._laptop.simulator).at_work
        url, token = self._laptop.gitlab_url, self._laptop.gitlab_token
        self._project = create_project(url, token, PROJECT, {"README.md": "# Chaos\n"})
        self._laptop.apply(FleetFile().text(url, self._periods))
        self._laptop.register_webhook(project=PROJECT)
        self._laptop.warm()
        wait_until(self._is_warm, timeout_s=WARM_WITHIN_S, what="the functions to be warm")

    def _is_warm(self) -> bool:
        """Whether a reconcile went through: a cold start is none of the faults."""
        answer = self._laptop.engine.client("stepfunctions").list_executions(
            stateMachineArn=self._laptop.stack.reconcile_machine, statusFilter="SUCCEEDED"
        )
        return bool(answer["executions"])

    def _options(self) -> LaptopOptions:
        """The laptop's usual options, with the suite's short periods."""
        periods = self._periods
        silent = timedelta(seconds=periods.gitlab_silent_s)
        return LaptopOptions(
            engine=EngineOptions(
                keep_state=self._keeps_state,
                settings={"AWS_ENDPOINT_URL_EC2": self._proxy.url},
            ),
            gitlab=GitLabOptions(timeouts=Timeouts(silent=silent)),
            stack=StackOptions(cache_ttl_s=1),
            containers=self._containers,
            guest_settings={
                "FLEET_HEARTBEAT_S": str(periods.heartbeat_s),
                "FLEET_BOOT_DEADLINE_S": str(periods.boot_deadline_s),
                "FLEET_SPOT_EVERY_S": "0.5",
            },
        )

    def run(self, fault: Fault, seed: int) -> ChaosResult:
        """One fault with one seed, from a calm fleet until it has closed everything."""
        scene = self._scene(fault, seed)
        began_at, began = datetime.now(UTC), time.monotonic()
        with Observer(self._laptop) as observer, Beat(self._reconcile, fault.periods.reconcile_s):
            scene.apply(fault.file)
            fault.act(scene)
            self._until_finished(scene, fault.finish_within_s)
            if fault.file != FleetFile():
                scene.apply(FleetFile())  # the warm ones may go now
            left = self._until_closed(scene)
            self._calm()
            shown = exposed_secrets(self._laptop, since=began_at)
            calls = self._proxy.take_calls()
            evidence = Evidence(
                planned=scene.deeds.planned,
                jobs=scene.jobs(),
                machines=machines_since(self._laptop, began_at, observer),
                ended=calls.terminations,
                dead=frozenset(scene.deeds.dead),
                cancelled=frozenset(scene.deeds.cancelled),
                leaked=left,
                broken=(*scene.deeds.broken, *shown),
                injected=scene.deeds.injected + calls.spoiled,
                seconds=time.monotonic() - began,
            )
            history = trail(self._laptop, evidence.jobs)
        result = judge(fault.name, seed, evidence, wait_at_most_s=fault.wait_at_most_s)
        return replace(result, trail=(*scene.deeds.missed, *history))

    def _reconcile(self) -> None:
        """As the template's rule does every minute."""
        with suppress(BotoCoreError, ClientError):  # the engine restarts: the next beat reconciles
            self._laptop.reconcile_now()

    def _scene(self, fault: Fault, seed: int) -> Scene:
        assert self._project
        self._runs += 1
        self._calm()
        self._proxy.take_calls()
        draw = random.Random(f"{fault.name}/{seed}")  # noqa: S311  repeatable on purpose
        scene = Scene(
            laptop=self._laptop,
            proxy=self._proxy,
            project=self._project,
            periods=self._periods,
            name=f"run-{self._runs}",
            draw=draw,
        )
        scene.gitlab.order(ChaosOrder(seed=draw.randrange(2**31)))
        return scene

    def _calm(self) -> None:
        """No fault is in force, and the fleet remembers none."""
        self._proxy.fault = None
        GitLabEye(self._laptop.simulator).order(CALM)
        for pool in POOLS:
            self._laptop.fleet_rows.note_back_off(pool, {})

    def _until_finished(self, scene: Scene, within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while unfinished(scene.deeds.planned, scene.jobs()) and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)

    def _until_closed(self, scene: Scene) -> dict[str, int]:
        """Wait until the fleet has closed everything, or for the deadline; what is left then."""
        deadline = time.monotonic() + CLOSED_WITHIN_S
        left = {"uncounted leftovers": 1}
        while True:
            with suppress(Transient):  # the fault's GitLab refuses us as well
                left = dict(leaked(self._laptop, scene.jobs()))
            if not any(left.values()) or time.monotonic() > deadline:
                return left
            time.sleep(LOOK_EVERY_S)
