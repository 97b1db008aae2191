"""Guests that stand for EC2: boots every instance of the engine as processes.

A guest runs its instance's own user data, as on AWS. A guest that powers off terminates its
instance; the end of an instance ends its guest.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeVar

from adapters.aws.clients import aws_call
from adapters.guest.wipe import remove_tree
from fleet.errors import Refused, Transient
from local.beat import Beat
from local.machines.boot import Guest, GuestCloud, GuestOptions, GuestState, boot, instances_up
from local.machines.imds import ImdsServer
from local.machines.keeper import count_below

AT_ONCE = 12  # boots and ends
WIPE_WITHIN_S = 60.0
# A container has an engine's images: at load 30 a minute was too short.
DISK_WITHIN_S = 300.0

Subject = TypeVar("Subject")


class GuestHost:
    """Boots, watches and ends guests from a thread of its own; a context."""

    def __init__(self, cloud: GuestCloud, options: GuestOptions) -> None:
        """Nothing starts before the context is entered."""
        self._cloud = cloud
        self._options = options
        containers = options.containers
        self._imds = ImdsServer(containers.gateway) if containers else ImdsServer()
        self._guests: dict[str, Guest] = {}
        self._lock = threading.RLock()
        # An engine takes seconds to start a container and to remove one: no look waits for it.
        self._threads = ThreadPoolExecutor(max_workers=AT_ONCE)
        self._busy: set[str] = set()  # instances that are being booted or ended
        self._watch = Beat(self._look, options.poll_s)

    def __enter__(self) -> Self:
        self._options.folder.mkdir(parents=True, exist_ok=True)
        self._imds.__enter__()
        self._watch.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """End every guest at once; their instances are left as they are."""
        self._watch.__exit__()
        self._threads.shutdown(cancel_futures=True)
        with ThreadPoolExecutor(max_workers=AT_ONCE) as ends:
            ends.map(self._end, self.guests)
        self._imds.__exit__()

    @property
    def guests(self) -> tuple[Guest, ...]:
        """The guests with an instance that is up."""
        with self._lock:
            return tuple(self._guests.values())

    def processes(self) -> int:
        """The number of living processes of guests, without their keepers."""
        return count_below(guest.keeper.pid for guest in self.guests)

    def console(self, instance_id: str) -> str:
        """An instance's output on its console, also after its end."""
        return self._options.console(instance_id).read_text(errors="replace")

    def inject_spot_notice(self, instance_id: str, in_s: float) -> None:
        """AWS takes the machine back: metadata and event now, termination after `in_s` seconds."""
        guest = self._guest(instance_id)
        guest.metadata.spot_at = datetime.now(UTC) + timedelta(seconds=in_s)
        self._cloud.emit(
            "EC2 Spot Instance Interruption Warning",
            {"instance-id": instance_id, "instance-action": "terminate"},
        )

    def kill(self, instance_id: str) -> None:
        """End a guest without a goodbye: EC2 still says running."""
        with self._lock:
            guest = self._guest(instance_id)
            guest.state = GuestState.LOST
            guest.keeper.close()

    def freeze(self, instance_id: str) -> None:
        """Stop every process of a guest."""
        with self._lock:
            guest = self._guest(instance_id)
            guest.state = GuestState.FROZEN
            guest.keeper.freeze()

    def thaw(self, instance_id: str) -> None:
        """Let a frozen guest go on."""
        with self._lock:
            guest = self._guest(instance_id)
            guest.state = GuestState.UP
            guest.keeper.thaw()

    def _guest(self, instance_id: str) -> Guest:
        with self._lock:
            if instance_id not in self._guests:
                raise Refused("no such guest", instance_id=instance_id)
            return self._guests[instance_id]

    def _look(self) -> None:
        # A restarting engine answers again later; an instance may end during the look.
        with suppress(Transient, Refused):
            self._compare()

    def _compare(self) -> None:
        up = {
            instance["InstanceId"]: instance
            for instance in instances_up(self._cloud, self._options.stack)
        }
        busy = frozenset(self._busy)  # before the guests: one whose boot ends now is in either
        known = self.guests
        new = up.keys() - {guest.instance_id for guest in known}
        for guest in known:
            if guest.instance_id in busy:
                continue
            if guest.instance_id not in up:
                self._begin(guest.instance_id, self._end, guest)
            elif self._is_over(guest):
                self._terminate(guest.instance_id)
                self._begin(guest.instance_id, self._end, guest)
        for instance_id in sorted(new - busy):
            self._begin(instance_id, self._boot, up[instance_id])

    def _begin(self, instance_id: str, act: Callable[[Subject], None], subject: Subject) -> None:
        self._busy.add(instance_id)

        def acting() -> None:
            try:
                act(subject)
            finally:
                self._busy.discard(instance_id)

        self._threads.submit(acting)

    def _boot(self, instance: Mapping[str, Any]) -> None:
        if self._watch.is_closing:
            return
        with suppress(Transient, Refused):  # gone already, or the next look boots it
            guest = boot(self._cloud, self._options, self._imds, instance)
            with self._lock:
                self._guests[guest.instance_id] = guest

    def _is_over(self, guest: Guest) -> bool:
        """Whether it powered off, or its spot notice is due."""
        spot_at = guest.metadata.spot_at
        if spot_at is not None and datetime.now(UTC) >= spot_at:
            return True
        return guest.keeper.exit_code is not None and guest.state is not GuestState.LOST

    def _terminate(self, instance_id: str) -> None:
        with aws_call("ec2.TerminateInstances"):
            self._cloud.client("ec2").terminate_instances(InstanceIds=[instance_id])

    def _end(self, guest: Guest) -> None:
        guest.keeper.close()
        self._imds.remove(guest.instance_id)
        remove_tree(guest.home, within_s=WIPE_WITHIN_S)
        if self._options.containers:
            remove_tree(self._options.disk(guest.instance_id), within_s=DISK_WITHIN_S)
        with self._lock:
            self._guests.pop(guest.instance_id, None)
