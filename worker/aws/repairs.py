"""What a resource differs in from the storage template, with the requests that correct it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Repair:
    """
    A difference between a resource and the template, and its correction.

    Attributes:
        description: The correction, in the imperative: `table metadata: turn TTL on`.
        apply: Makes the requests.
    """

    description: str
    apply: Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Deployed:
    """
    The last deployment of the storage stack.

    Attributes:
        template: The template.
        parameters: Parameters, by name.
        outputs: Outputs, by name.
    """

    template: str
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]


class StorageDrift(Protocol):
    """Finds what the resources of the storage stack differ in from the template."""

    async def after_creation(self) -> Sequence[Repair]:
        """Return the repairs of what the creation of the stack has left out."""

    async def before_update(self, deployed: Deployed) -> Sequence[Repair]:
        """Return the repairs that must precede an update of the stack."""

    async def after_update(self, outputs: Mapping[str, str]) -> Sequence[Repair]:
        """Return the repairs of what the update of the stack has left, by its new outputs."""
