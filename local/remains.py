"""What a run leaves behind: nothing, if the service keeps its promise."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """Counts of what is left."""

    instances: int
    runners: int  # records in GitLab besides the pools' own
    messages: int
    processes: int

    @property
    def nothing(self) -> bool:
        """Whether nothing is left."""
        return not any((self.instances, self.runners, self.messages, self.processes))

    def problems(self) -> list[str]:
        """A sentence for each count above zero."""
        counts = {
            "instances still run": self.instances,
            "runner records are left in GitLab": self.runners,
            "messages are left in the queues": self.messages,
            "guest processes are left": self.processes,
        }
        return [f"{count} {what}" for what, count in counts.items() if count]
