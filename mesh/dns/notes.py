"""Notes: what became of each instance while an answer was made, for whoever wants to know."""

from __future__ import annotations

from mesh.registry.health import Instance


class Notes:
    """Takes none: answering does not pay for what nobody reads."""

    def answered(self, instance: Instance) -> None:
        """The next answer is about this one."""

    def left_out(self, instance: Instance, why: str) -> None:
        """Nothing is answered about this one."""


class Trace(Notes):
    """Remembers all. `order` are those answered; `others` those that are not, and why."""

    def __init__(self) -> None:
        self.order: list[Instance] = []
        self.others: dict[tuple[str, str], tuple[Instance, str]] = {}

    def answered(self, instance: Instance) -> None:
        """Remember it, whatever was said of it before."""
        self.order.append(instance)
        self.others.pop(key_of(instance), None)

    def left_out(self, instance: Instance, why: str) -> None:
        """Remember why."""
        self.others[key_of(instance)] = (instance, why)


def key_of(instance: Instance) -> tuple[str, str]:
    """What tells an instance from all others."""
    return (instance.node.name, instance.service.id)


SILENT = Notes()
