"""Compile a list of allowed system calls to a seccomp filter, and install it."""

import ctypes
import errno
import platform
import struct
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from worker.ipc.process_attributes import LIBC

_PR_SET_SECCOMP: Final = 22
_FILTER_MODE: Final = 2

_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _JUMP_IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT, _ARGUMENT_BYTES = 0, 4, 16, 8
_WORD: Final = 0xFFFF_FFFF
_X32_CALLS: Final = 0x4000_0000

ALLOW: Final = 0x7FFF_0000
KILL: Final = 0x8000_0000
"""SECCOMP_RET_KILL_PROCESS: the process ends with SIGSYS."""
DENY: Final = 0x0005_0000 | errno.EPERM
UNAVAILABLE: Final = 0x0005_0000 | errno.ENOSYS
"""For calls that libraries replace by older ones on kernels without them."""

Instruction: TypeAlias = tuple[int, int, int, int]


class Architecture(NamedTuple):
    """An architecture: the value of `seccomp_data.arch`, and the column of its system call numbers."""

    audit: int
    column: int


ARCHITECTURES: Final[Mapping[str, Architecture]] = MappingProxyType(
    {"x86_64": Architecture(0xC000_003E, 0), "aarch64": Architecture(0xC000_00B7, 1)}
)
"""By `platform.machine()`; both are little-endian."""


@dataclass(frozen=True, slots=True)
class Argument:
    """
    Condition on an argument of a system call.

    Attributes:
        index: Position, from 0.
        values: The allowed values; empty if `bits` decides.
        bits: The bits that may be set.
        is_long: Whether the kernel uses all 64 bits: lengths, pointers, flags of mmap(2). It ignores the
            upper half of an `int`, in which a caller may leave anything.
    """

    index: int
    values: tuple[int, ...] = ()
    bits: int = 0
    is_long: bool = False


@dataclass(frozen=True, slots=True)
class SystemCall:
    """
    A system call.

    Attributes:
        name: Its name in the kernel.
        numbers: Its number on x86_64 and on aarch64; None where it does not exist.
        arguments: Conditions that must all hold.
    """

    name: str
    numbers: tuple[int | None, int | None]
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """
    What a filter does with each system call; those in no list fail with EPERM.

    Attributes:
        allowed: Calls that are passed to the kernel if the conditions on their arguments hold.
        unavailable: Calls that fail with ENOSYS.
        fatal: Calls that end the process: no library makes them, so that one of them shows an attack.
    """

    allowed: tuple[SystemCall, ...]
    unavailable: tuple[SystemCall, ...] = ()
    fatal: tuple[SystemCall, ...] = ()


def program_for(policy: Policy) -> bytes | None:
    """Return the encoded program of a policy; None if this system or architecture has no such filter."""
    architecture = ARCHITECTURES.get(platform.machine())
    if sys.platform != "linux" or architecture is None:
        return None
    return encode(compile_policy(policy, architecture))


def install(program: bytes) -> bool:
    """
    Restrict this process, and the threads and processes that it starts, by a filter, irrevocably.

    Filters stack: a call must be allowed by all of them. Requires no-new-privileges.

    Returns:
        False if the system rejected the filter.
    """
    code = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    return bool(LIBC.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_FILTER_MODE), ctypes.c_char_p(head), 0, 0) == 0)


def compile_policy(policy: Policy, architecture: Architecture) -> list[Instruction]:
    """
    Return the BPF program of a policy: (operation, jump if true, jump if false, constant) each.

    System calls of another architecture end the process: of i386 on x86_64, of arm on aarch64, and those of
    x32, whose numbers are above 0x40000000.
    """
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_IF_EQUAL, 1, 0, architecture.audit),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_IF_AT_LEAST, 0, 1, _X32_CALLS),
        (_RETURN, 0, 0, KILL),
    ]
    for calls, result in ((policy.allowed, ALLOW), (policy.unavailable, UNAVAILABLE), (policy.fatal, KILL)):
        for call in calls:
            number = call.numbers[architecture.column]
            if number is not None:
                block = [*_conditions(call.arguments), (_RETURN, 0, 0, result), (_RETURN, 0, 0, DENY)]
                program += [(_JUMP_IF_EQUAL, 0, len(block), number), *block]
    return [*program, (_RETURN, 0, 0, DENY)]


def encode(program: Iterable[Instruction]) -> bytes:
    """Return a program as an array of `struct sock_filter`."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _conditions(arguments: tuple[Argument, ...]) -> list[Instruction]:
    """Return instructions that continue if all conditions hold, and skip the next instruction otherwise."""
    program: list[Instruction] = []
    for argument in reversed(arguments):
        program = _condition(argument, skip=len(program) + 1) + program
    return program


def _condition(argument: Argument, *, skip: int) -> list[Instruction]:
    """
    Return instructions that continue if the condition holds.

    Args:
        argument: The condition.
        skip: Number of instructions after these that are skipped if it does not hold.
    """
    low_at = _ARGUMENTS_AT + _ARGUMENT_BYTES * argument.index
    last = len(argument.values) - 1
    test: list[Instruction] = [(_LOAD, 0, 0, low_at)]
    if argument.values:
        for at, value in enumerate(argument.values):
            test.append((_JUMP_IF_EQUAL, last - at, 0 if at < last else skip, value & _WORD))
    else:
        test.append((_JUMP_IF_ANY_BIT, skip, 0, ~argument.bits & _WORD))
    if argument.is_long:
        test = [
            (_LOAD, 0, 0, low_at + 4),
            (_JUMP_IF_EQUAL, 0, skip + len(test), 0),
            *test,
        ]
    return test
