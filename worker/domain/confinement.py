"""What the confinement of a decoder process guarantees, and which guarantees can be required."""

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Guarantee(StrEnum):
    """A restriction that the kernel enforces on a process."""

    SECCOMP = "seccomp"
    NON_DUMPABLE = "non_dumpable"
    NO_NEW_PRIVILEGES = "no_new_privileges"
    PARENT_DEATH_SIGNAL = "parent_death_signal"
    MEMORY_LIMIT = "memory_limit"
    LANDLOCK = "landlock"


REQUIRED: Final = frozenset(Guarantee) - {Guarantee.LANDLOCK}
"""The guarantees of `WORKER_DECODER_CONFINEMENT=require`: all but the second layer."""

DESCRIPTIONS: Final[Mapping[Guarantee, str]] = MappingProxyType(
    {
        Guarantee.SECCOMP: "denies system calls outside the allow-list",
        Guarantee.NON_DUMPABLE: "protects the memory and environment of the worker process and of decoders",
        Guarantee.NO_NEW_PRIVILEGES: "makes programs with the set-user-ID bit harmless",
        Guarantee.PARENT_DEATH_SIGNAL: "ends decoders with the worker process",
        Guarantee.MEMORY_LIMIT: "bounds the memory of a decoder",
        Guarantee.LANDLOCK: "denies files, a second time",
    }
)
"""What each guarantee does."""


def missing_guarantees(held: Collection[Guarantee]) -> tuple[Guarantee, ...]:
    """Return the guarantees that do not hold, the most important first."""
    return tuple(guarantee for guarantee in Guarantee if guarantee not in held)


def describe_missing(missing: Iterable[Guarantee]) -> str:
    """Return each missing guarantee with what it would mean, for a person: `seccomp (system calls ...)`."""
    return ", ".join(f"{guarantee} ({DESCRIPTIONS[guarantee]})" for guarantee in missing)
