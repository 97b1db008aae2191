"""How a process reaches GitLab: over which proxy, and whose certificates it trusts."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """The proxy to GitLab, and the authority of its certificate."""

    tls_ca: str = ""  # PEM of an authority to trust besides the public ones
    proxy: str = ""  # address; empty: the environment's


DIRECT = Way()
