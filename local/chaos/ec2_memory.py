"""How EC2 forgets machines that ended: pure, but for the clock that is given.

About an hour after its end a machine is shown no more, and a call that names it fails. Where the
caller's right depends on a tag, EC2 says UnauthorizedOperation: a machine that it does not know has
no tag. TerminateInstances answers so; the other code, InvalidInstanceID.NotFound, is for callers
with the right to end any machine.
"""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
_ENDED = "terminated"


class Ec2Memory:
    """Since when machines are known to have ended, by the answers that pass by."""

    def __init__(self, forgets_after_s: float | None, clock: Callable[[], float]) -> None:
        """`forgets_after_s`: None never forgets. `clock`: seconds."""
        self._forgets_after_s = forgets_after_s
        self._clock = clock
        self._ended: dict[str, float] = {}

    def forgotten(self, machine_ids: Iterable[str]) -> frozenset[str]:
        """The machines among these that EC2 no longer knows."""
        if self._forgets_after_s is None:
            return frozenset()
        before = self._clock() - self._forgets_after_s
        return frozenset(
            machine_id
            for machine_id in machine_ids
            if self._ended.get(machine_id, before + 1) <= before
        )

    def passes(self, body: bytes) -> bytes:
        """An answer of EC2 without the machines that it forgot; those that ended are noted."""
        if self._forgets_after_s is None or _ENDED.encode() not in body:
            return body
        ET.register_namespace("", NAMESPACE)
        tree = ET.fromstring(body)  # noqa: S314  the engine's own answer
        for _, _, machine_id, state in _machines(tree):
            if state == _ENDED:
                self._ended.setdefault(machine_id, self._clock())
        gone = self.forgotten(self._ended)
        for machines, item, machine_id, _ in list(_machines(tree)):
            if machine_id in gone:
                machines.remove(item)
        return bytes(ET.tostring(tree, encoding="utf-8", xml_declaration=True))


def _machines(tree: ET.Element) -> Iterator[tuple[ET.Element, ET.Element, str, str]]:
    """Each list of machines with an item of it, its id and its state."""
    for machines in tree.iter(f"{{{NAMESPACE}}}instancesSet"):
        for item in machines:
            machine_id = item.findtext(f"{{{NAMESPACE}}}instanceId")
            states = (f"{{{NAMESPACE}}}{name}" for name in ("instanceState", "currentState"))
            name = f"{{{NAMESPACE}}}name"
            state = next(
                (element for path in states if (element := item.find(path)) is not None), None
            )
            if machine_id and state is not None:
                yield machines, item, machine_id, state.findtext(name) or ""
