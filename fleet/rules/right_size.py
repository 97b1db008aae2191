"""Whether a job's machine fits it, by what the job used of it. Pure."""

import re
from dataclasses import dataclass
from enum import StrEnum

from fleet.config.model import PoolConfig
from fleet.usage import Usage

# GB of memory for each vCPU, by the first letter of the family.
# Source: aws.amazon.com/ec2/instance-types
_GB_PER_VCPU = {"c": 2.0, "m": 4.0, "r": 8.0, "t": 4.0}
_TYPE = re.compile(r"([cmrt])\d+[a-z-]*\.(?:(\d*)xlarge|(medium|large))")
# A smaller machine has half of it; above this share of the half a job would not fit well.
ROOMY = 0.4
TIGHT = 0.9
# A shorter job says of the size only that it was too small.
LONG_ENOUGH_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSize:
    """What a machine has."""

    vcpu: float
    memory_gb: float


class SizeHint(StrEnum):
    """How a machine fits its job."""

    SMALLER = "smaller"
    LARGER = "larger"
    RIGHT = "right"
    UNKNOWN = "unknown"


HINTS = {
    SizeHint.SMALLER: "half the machine would do: it would cost half",
    SizeHint.LARGER: "its memory was nearly used up: a larger machine is safer",
    SizeHint.RIGHT: "the machine fits",
    SizeHint.UNKNOWN: "",
}


def size_of_type(instance_type: str) -> MachineSize | None:
    """The size of an EC2 instance type; None for a family that is not known here."""
    parts = _TYPE.fullmatch(instance_type)
    if parts is None:
        return None
    family, times, word = parts.groups()
    vcpu = {"medium": 1.0, "large": 2.0}[word] if word else 4.0 * int(times or 1)
    if family == "t" and word:  # burstable ones have two vCPU below xlarge
        return MachineSize(vcpu=2.0, memory_gb={"medium": 4.0, "large": 8.0}[word])
    return MachineSize(vcpu=vcpu, memory_gb=vcpu * _GB_PER_VCPU[family])


def size_of_lambda(memory_gb: int) -> MachineSize:
    """The size of a Lambda function. Source: Lambda's guide, 1,769 MB are one vCPU."""
    return MachineSize(vcpu=memory_gb * 1024 / 1769, memory_gb=float(memory_gb))


def size_of_machine(pool: PoolConfig | None, capacity: str | None) -> MachineSize | None:
    """The size of a pool's Lambda functions, or of the instance type that a capacity begins with.

    None where neither is known.
    """
    if pool is not None and pool.backend == "lambda":
        return size_of_lambda(pool.memory_gb)
    return size_of_type((capacity or "").partition("/")[0])


def share_of_memory(usage: Usage, size: MachineSize) -> float | None:
    """The highest memory of a job, of the machine's."""
    return None if usage.memory_peak is None else usage.memory_peak / (size.memory_gb * 2**30)


def share_of_cpu(usage: Usage, size: MachineSize, ran_s: float | None) -> float | None:
    """The mean use of all processors while the job ran."""
    if usage.cpu_s is None or not ran_s:
        return None
    return usage.cpu_s / (ran_s * size.vcpu)


def decide_fit(usage: Usage, size: MachineSize | None, ran_s: float | None) -> SizeHint:
    """Whether another size would fit better; unknown of a short job."""
    if size is None:
        return SizeHint.UNKNOWN
    memory, cpu = share_of_memory(usage, size), share_of_cpu(usage, size, ran_s)
    if memory is not None and memory >= TIGHT:
        return SizeHint.LARGER
    if memory is None or cpu is None or (ran_s or 0.0) < LONG_ENOUGH_S:
        return SizeHint.UNKNOWN
    return SizeHint.SMALLER if memory <= ROOMY and cpu <= ROOMY else SizeHint.RIGHT
