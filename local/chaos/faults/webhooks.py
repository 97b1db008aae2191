"""Faults of webhooks on their way: hints only, so they may cost time and nothing else."""

from local.chaos.faults.fault import Fault
from local.chaos.fleet_file import Periods
from local.chaos.pipeline import draw_jobs
from local.chaos.scene import Scene
from local.gitlab.chaos import ChaosOrder, WebhookChaos

# A cold machine may take a while to boot; how long at most is what the promise is made of.
_PERIODS = Periods(boot_deadline_s=20)


def _disturb(scene: Scene, webhooks: WebhookChaos) -> None:
    scene.gitlab.order(ChaosOrder(webhooks=webhooks))
    scene.deeds.injected += 1
    scene.push(draw_jobs(scene.draw))


def _lost(scene: Scene) -> None:
    _disturb(scene, WebhookChaos(drop=1.0))


def _dropped(scene: Scene) -> None:
    _disturb(scene, WebhookChaos(drop=scene.draw.uniform(0.3, 0.8)))


def _delayed(scene: Scene) -> None:
    most = scene.draw.uniform(2.0, 8.0)
    _disturb(scene, WebhookChaos(delay_s=(0.0, most)))


def _duplicated(scene: Scene) -> None:
    _disturb(scene, WebhookChaos(duplicate=1.0))


def _reordered(scene: Scene) -> None:
    order = WebhookChaos(reorder=scene.draw.uniform(0.4, 0.9), duplicate=0.3, delay_s=(0.0, 1.5))
    _disturb(scene, order)


WEBHOOKS = (
    Fault(
        name="lost-webhooks",
        about="no webhook arrives at all",
        act=_lost,
        periods=_PERIODS,
        # The promise: one period, then a boot.
        wait_at_most_s=_PERIODS.reconcile_s + _PERIODS.boot_deadline_s,
    ),
    Fault(name="dropped-webhooks", about="some webhooks are lost", act=_dropped),
    Fault(name="delayed-webhooks", about="webhooks come seconds late", act=_delayed),
    Fault(name="duplicate-webhooks", about="every webhook comes twice", act=_duplicated),
    Fault(name="reordered-webhooks", about="webhooks overtake each other", act=_reordered),
)
