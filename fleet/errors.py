"""Errors by what the caller can do. The class names are the interface of the state machines.

FleetError
├── Transient    try the same again, later
├── NoCapacity   the cloud has none of this kind: try another kind
├── Refused      stop and report: permission, configuration, unknown object
└── BadDelivery  the sender's fault: answer 4xx

Step Functions matches names exactly, a subclass is a different error: raise the leaf itself.
"""


class FleetError(Exception):
    """An error that the fleet expects."""

    def __init__(self, detail: str | None = None, **facts: object) -> None:
        """`detail` says what to do about it; `facts` travel with the error and hold no secret."""
        self.facts = facts
        line = detail or (self.__doc__ or "").splitlines()[0]
        listed = ", ".join(f"{key}={value}" for key, value in facts.items())
        super().__init__(f"{line} ({listed})" if listed else line)


class Transient(FleetError):
    """The other side did not answer well this time; the same call may work later."""


class NoCapacity(FleetError):
    """The cloud has no machine of this kind to give."""


class Refused(FleetError):
    """The other side will not do this however often it is asked."""


class BadDelivery(FleetError):
    """The delivery cannot be read."""

    def __init__(self, detail: str | None = None, *, status: int = 400, **facts: object) -> None:
        """`status` is the HTTP status of the answer, from 400 to 499."""
        self.status = status
        super().__init__(detail, **facts)
