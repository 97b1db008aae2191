"""The project or the group that a webhook is on."""

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class HookScope:
    """`str` is its text form in the ledger, in names and for people: "project:77", "group:42"."""

    kind: Literal["project", "group"]
    id: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"

    @classmethod
    def read(cls, text: str) -> "HookScope":
        """Read the text form; raises `ValueError` for any other text."""
        match = re.fullmatch(r"(project|group):(-?[0-9]+)", text)
        if match is None:
            raise ValueError(f"{text!r} is no scope of a webhook")
        return cls(kind="group" if match[1] == "group" else "project", id=int(match[2]))

    def may_serve(self, project_id: int) -> bool:
        """Whether the webhook may deliver for a project, as far as its scope alone can say.

        Which projects a group has is GitLab's to say: `fleet/rules/hook_reach.py`.
        """
        return self.kind == "group" or self.id == project_id
