"""The cloud under the fleet: spot machines taken back, a restart of everything, all at once."""

from local.chaos.faults.fault import Fault
from local.chaos.faults.launches import DRY
from local.chaos.fleet_call import Disruption, FleetCall
from local.chaos.pipeline import draw_jobs, victim
from local.chaos.scene import Scene
from local.gitlab.chaos import ApiChaos, ChaosOrder, WebhookChaos


def _spot_notice(scene: Scene) -> None:
    """The machine of a running job goes in 46 to 50 s, of which its agent keeps 45 to end well."""
    runner = scene.push_victim(victim("ec2", 12.0), draw_jobs(scene.draw)[:3])
    machine_id = scene.machine_of(runner) if runner else None
    if machine_id:
        scene.take_back(machine_id, in_s=scene.draw.uniform(46.0, 50.0))


def _engine_restart(scene: Scene) -> None:
    """Every function and state machine under way is cut off; queues and tables stay."""
    scene.push(draw_jobs(scene.draw))
    scene.pause(scene.draw.uniform(0.0, 6.0))
    scene.deeds.injected += 1
    scene.laptop.engine.restart()


def _storm(scene: Scene) -> None:
    """Webhooks, launches and GitLab fail now and then, and a machine dies at work."""
    draw = scene.draw
    drops, fails, dry = draw.uniform(0.1, 0.5), draw.uniform(0.05, 0.25), draw.uniform(0.1, 0.4)
    scene.gitlab.order(
        ChaosOrder(
            webhooks=WebhookChaos(drop=drops, duplicate=0.3, reorder=0.3, delay_s=(0.0, 2.0)),
            api=ApiChaos(status=draw.choice((429, 500)), rate=fails, for_s=20.0),
        )
    )

    def disrupt(call: FleetCall) -> Disruption | None:
        none = {override: DRY for override in call.overrides[1:] if draw.random() < dry}
        return Disruption(dry=none) if none else None

    scene.proxy.fault = disrupt
    runner = scene.push_victim(victim(draw.choice(("ec2", "lambda")), 8.0), draw_jobs(draw))
    if runner:
        scene.kill(runner, reported_after_s=draw.uniform(0.0, 3.0))
    scene.pause(10.0)


CLOUD = (
    Fault(name="spot-notice", about="AWS takes a machine back at work", act=_spot_notice),
    Fault(name="storm", about="a bit of everything at once", act=_storm, finish_within_s=150.0),
    Fault(
        name="engine-restart",
        about="every function is cut off in the middle",
        act=_engine_restart,
        keeps_state=True,
    ),
)
