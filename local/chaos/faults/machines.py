"""Machines that die: at every step between the launch and the goodbye."""

from fleet.machine.mailbox import MachineState
from local.chaos.faults.fault import Fault
from local.chaos.fleet_call import Disruption, FleetCall
from local.chaos.fleet_file import POOLS, FleetFile, Periods
from local.chaos.pipeline import draw_jobs, on_ec2, victim
from local.chaos.scene import Scene
from local.gitlab.chaos import ApiChaos, ChaosOrder

BACKENDS = ("ec2", "lambda")
# GitLab itself gives up a job whose runner is silent: after this long instead of an hour.
HURRIED = Periods(gitlab_silent_s=15.0)
_NO_RECORDS = ApiChaos(status=500, paths="^/user/runners$")


def _at_boot(scene: Scene) -> None:
    """A machine dies before its first report; no event says so."""
    scene.push(draw_jobs(scene.draw))
    if scene.draw.random() < 0.7:
        machines = scene.wait(scene.machines, what="a machine boots")
        if machines:
            scene.kill_machine(machines[0], reported_after_s=None)
        return
    runners = scene.wait(scene.sandboxes, what="a sandbox starts")
    if runners:
        scene.kill_sandbox(runners[0])


def _before_credential(scene: Scene) -> None:
    """GitLab makes no more runner records once machines are launched: one dies waiting for its own.

    The first record of a launch is made before it, the others while the machines boot.
    """

    def refuses(_: FleetCall) -> Disruption | None:
        scene.gitlab.order(ChaosOrder(api=_NO_RECORDS))
        scene.proxy.fault = None
        return None

    scene.proxy.fault = refuses
    scene.push(on_ec2(draw_jobs(scene.draw)))
    waiting = scene.wait(lambda: _runner_in(scene, MachineState.BOOTED), what="a machine waits")
    if waiting:
        scene.kill(waiting, reported_after_s=None)
    scene.gitlab.order(ChaosOrder(api=ApiChaos()))


def _idle(scene: Scene) -> None:
    """A warm machine dies, and only then the jobs come that it was there for."""
    idle = scene.wait(lambda: _runner_in(scene, MachineState.IDLE), what="a machine is idle")
    if idle:
        scene.kill(idle, reported_after_s=None)
    scene.push(on_ec2(draw_jobs(scene.draw)))


def _while_running(scene: Scene) -> None:
    """EC2 or Lambda says so."""
    job = victim(scene.draw.choice(BACKENDS), 8.0)
    runner = scene.push_victim(job, draw_jobs(scene.draw)[:3])
    if runner:
        scene.pause(scene.draw.uniform(0.0, 2.0))
        scene.kill(runner, reported_after_s=scene.draw.uniform(0.0, 3.0))


def _silently(scene: Scene) -> None:
    """EC2 shows the machine as running: only GitLab's time-out of the job ends it."""
    runner = scene.push_victim(victim("ec2", 8.0), draw_jobs(scene.draw)[:3])
    if runner:
        scene.pause(scene.draw.uniform(0.0, 2.0))
        scene.kill(runner, reported_after_s=None)


def _frozen(scene: Scene) -> None:
    """The machine hangs for good with its job."""
    runner = scene.push_victim(victim("ec2", 8.0), draw_jobs(scene.draw)[:3])
    machine_id = scene.machine_of(runner) if runner else None
    if machine_id:
        scene.freeze(machine_id)


def _after_job(scene: Scene) -> None:
    """GitLab has the result, the machine has not said goodbye."""
    job = victim(scene.draw.choice(BACKENDS), scene.draw.uniform(0.5, 2.0))
    scene.push([job, *draw_jobs(scene.draw)[:3]])
    done = scene.wait(lambda: scene.job(job.name, "success"), what="it is done")
    if done and done.runner:
        reported_after_s = scene.draw.choice((None, 0.5))
        scene.kill(done.runner, reported_after_s=reported_after_s)


def _runner_in(scene: Scene, state: MachineState) -> str | None:
    """A runner whose machine says that it is in this state."""
    for pool in POOLS:
        for runner in scene.laptop.runner_rows.live(pool):
            report = scene.report_of(runner.id)
            if report and report.state is state:
                return runner.id
    return None


MACHINES = (
    Fault(name="killed-at-boot", about="a machine dies before it calls home", act=_at_boot),
    Fault(
        name="killed-before-credential",
        about="a machine dies while it waits for its runner token",
        act=_before_credential,
    ),
    Fault(
        name="killed-idle",
        about="a warm machine dies before its job comes",
        act=_idle,
        file=FleetFile(warm=1),
    ),
    Fault(
        name="killed-while-running",
        about="a machine dies at work; EC2 or Lambda says so",
        act=_while_running,
    ),
    Fault(
        name="killed-after-job",
        about="a machine dies after its job, before its goodbye",
        act=_after_job,
    ),
    Fault(
        name="lost-while-running",
        about="a machine dies at work; EC2 says that it runs",
        act=_silently,
        periods=HURRIED,
    ),
    Fault(
        name="frozen-while-running",
        about="a machine hangs at work; EC2 says that it runs",
        act=_frozen,
        periods=HURRIED,
    ),
)
