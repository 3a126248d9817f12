"""An interpreter of seccomp's BPF programs, for the instructions that the project's filters use."""

from collections.abc import Sequence

from worker.imaging.seccomp import Instruction


def run(program: Sequence[Instruction], *, audit: int, number: int, arguments: Sequence[int] = ()) -> int:
    """
    Return what a filter decides on a system call: the value of its return instruction.

    Args:
        program: Instructions of the filter.
        audit: Architecture of the call.
        number: Number of the system call.
        arguments: Up to six arguments; those left out are zero.
    """
    data = number.to_bytes(4, "little") + audit.to_bytes(4, "little") + bytes(8)
    for argument in (*arguments, *[0] * (6 - len(arguments))):
        data += (argument & 0xFFFF_FFFF_FFFF_FFFF).to_bytes(8, "little")
    accumulator, at = 0, 0
    while True:
        operation, if_true, if_false, constant = program[at]
        at += 1
        match operation:
            case 0x20:
                accumulator = int.from_bytes(data[constant : constant + 4], "little")
            case 0x15:
                at += if_true if accumulator == constant else if_false
            case 0x35:
                at += if_true if accumulator >= constant else if_false
            case 0x45:
                at += if_true if accumulator & constant else if_false
            case 0x06:
                return constant
            case _:
                raise AssertionError(operation)
