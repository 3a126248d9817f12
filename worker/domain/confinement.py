"""What the confinement of a decoder process guarantees, and which guarantees can be required."""

from collections.abc import Mapping
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
        Guarantee.SECCOMP: "system calls outside the allow-list are denied",
        Guarantee.NON_DUMPABLE: "other processes of its user cannot read its memory, environment and files",
        Guarantee.NO_NEW_PRIVILEGES: "programs with the set-user-ID bit give it no privileges",
        Guarantee.PARENT_DEATH_SIGNAL: "it is killed when the process that started it ends",
        Guarantee.MEMORY_LIMIT: "its memory is limited",
        Guarantee.LANDLOCK: "no file can be opened, even if a system call that opens files were allowed",
    }
)
"""What each guarantee means for the process that has it."""
