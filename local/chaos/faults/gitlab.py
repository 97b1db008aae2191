"""GitLab that does not answer, switches the webhook off, or has people who change their minds."""

from local.chaos.faults.fault import Fault
from local.chaos.pipeline import Planned, any_end, draw_jobs
from local.chaos.scene import Scene
from local.gitlab.chaos import ApiChaos, ChaosOrder

# What the fleet itself calls; runners have limits of their own in GitLab.
_FLEETS_OWN = r"^/(projects|groups|user|runners/(all|\d+))"


def _rate_limited(scene: Scene) -> None:
    """429 to everything that the fleet asks, with a wish to wait."""
    for_s = scene.draw.uniform(10.0, 20.0)
    order = ApiChaos(
        status=429, for_s=for_s, retry_after_s=scene.draw.choice((1, 3, 6)), paths=_FLEETS_OWN
    )
    _fail(scene, order, for_s)


def _down(scene: Scene) -> None:
    """500 or 502 to everybody, runners included."""
    for_s = scene.draw.uniform(8.0, 16.0)
    order = ApiChaos(status=scene.draw.choice((500, 502, 503)), for_s=for_s)
    _fail(scene, order, for_s)


def _fail(scene: Scene, order: ApiChaos, for_s: float) -> None:
    """Some jobs come before, some while it lasts."""
    first, later = draw_jobs(scene.draw), draw_jobs(scene.draw)[:2]
    scene.push(first)
    scene.pause(scene.draw.uniform(0.0, 5.0))
    scene.gitlab.order(ChaosOrder(api=order))
    scene.deeds.injected += 1
    scene.push(later)
    scene.pause(for_s)


def _hook_disabled(scene: Scene) -> None:
    """GitLab has switched the webhook off, as it does after failed deliveries."""
    scene.gitlab.order(ChaosOrder(hook_disabled=True))
    scene.deeds.injected += 1
    scene.push(draw_jobs(scene.draw))
    healed = scene.wait(lambda: scene.gitlab.hooks_work() or None)
    if not healed:
        scene.deeds.broken.append("the webhook was not switched on again")


def _cancelled(scene: Scene) -> None:
    """A person cancels a whole pipeline at a drawn moment; another pipeline follows at once."""
    jobs = [*draw_jobs(scene.draw)]
    jobs += [Planned(name=f"long-{tag}", tag=tag, seconds=20.0) for tag in ("ec2", "lambda")]
    doomed = scene.push(any_end(jobs))
    scene.pause(scene.draw.uniform(0.0, 8.0))
    scene.deeds.cancelled.add(doomed)
    scene.deeds.injected += 1
    scene.cancel(doomed)
    scene.push(draw_jobs(scene.draw)[:2])


GITLAB = (
    Fault(name="hook-disabled", about="GitLab has switched the webhook off", act=_hook_disabled),
    Fault(name="gitlab-429", about="GitLab asks the fleet for fewer calls", act=_rate_limited),
    Fault(name="gitlab-500", about="GitLab answers no call", act=_down),
    Fault(name="cancelled-pipeline", about="a person cancels a pipeline", act=_cancelled),
)
