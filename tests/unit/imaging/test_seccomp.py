"""The seccomp programs of both architectures, run by an interpreter; numbers compared with libseccomp."""

import ctypes
import ctypes.util
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.seccomp import run
from worker.imaging import seccomp
from worker.imaging.confinement import decoder_program
from worker.imaging.seccomp import ALLOW, ARCHITECTURES, DENY, KILL, UNAVAILABLE, Policy, SystemCall
from worker.imaging.system_calls import decoder_policy, zygote_policy

CONNECTION, PID = 5, 4321
POLICIES = {"decoder": decoder_policy(connection=CONNECTION, pid=PID), "zygote": zygote_policy()}
PROGRAMS = {
    (policy, machine): seccomp.compile_policy(POLICIES[policy], ARCHITECTURES[machine])
    for policy in POLICIES
    for machine in ARCHITECTURES
}
both_machines = pytest.mark.parametrize("machine", ARCHITECTURES)
both_policies = pytest.mark.parametrize("policy", POLICIES)

_ARGUMENTS = st.lists(
    st.sampled_from((0, 1, 2, 3, 4, 5, 6, 7, 14, 34, PID, 0x4022, 2**31, 2**32, 2**32 + 5, 2**64 - 1))
    | st.integers(0, 2**64 - 1),
    min_size=6,
    max_size=6,
)


def decision(policy: str, machine: str, name: str, *arguments: int) -> int:
    calls = POLICIES[policy].allowed + POLICIES[policy].unavailable + POLICIES[policy].fatal
    architecture = ARCHITECTURES[machine]
    (number,) = {call.numbers[architecture.column] for call in calls if call.name == name}
    assert number is not None
    return run(PROGRAMS[policy, machine], audit=architecture.audit, number=number, arguments=arguments)


def expected(policy: Policy, column: int, number: int, arguments: list[int]) -> int:
    for calls, result in ((policy.allowed, ALLOW), (policy.unavailable, UNAVAILABLE), (policy.fatal, KILL)):
        for call in calls:
            if call.numbers[column] == number:
                return result if all(holds(each, arguments) for each in call.arguments) else DENY
    return DENY


def holds(condition: seccomp.Argument, arguments: list[int]) -> bool:
    value = arguments[condition.index]
    if not condition.is_long:
        value &= 0xFFFF_FFFF
    return value in condition.values if condition.values else not value & ~condition.bits


@both_machines
@both_policies
@given(number=st.integers(0, 600), arguments=_ARGUMENTS)
def test_a_program_decides_as_its_policy(
    policy: str, machine: str, number: int, arguments: list[int]
) -> None:
    architecture = ARCHITECTURES[machine]
    decided = run(PROGRAMS[policy, machine], audit=architecture.audit, number=number, arguments=arguments)
    assert decided == expected(POLICIES[policy], architecture.column, number, arguments)


@both_machines
@both_policies
@given(audit=st.integers(0, 2**32 - 1), number=st.integers(0, 2**32 - 1))
def test_system_calls_of_another_architecture_end_the_process(
    policy: str, machine: str, audit: int, number: int
) -> None:
    if audit != ARCHITECTURES[machine].audit:
        assert run(PROGRAMS[policy, machine], audit=audit, number=number) == KILL


@both_policies
@pytest.mark.parametrize("number", [0, 9, 56, 231])
def test_system_calls_of_x32_end_the_process(policy: str, number: int) -> None:
    program = PROGRAMS[policy, "x86_64"]
    assert run(program, audit=ARCHITECTURES["x86_64"].audit, number=0x4000_0000 + number) == KILL


@both_machines
@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("mmap", (0, 4096, 0b011, 0x22, 2**64 - 1, 0), ALLOW),
        ("mmap", (0, 4096, 0b111, 0x22, 2**64 - 1, 0), DENY),
        ("mmap", (0, 4096, 0b101, 0x22, 2**64 - 1, 0), DENY),
        ("mmap", (0, 4096, 0b011, 0x21, 2**64 - 1, 0), DENY),
        ("mmap", (0, 4096, 0b011, 0x02, CONNECTION, 0), DENY),
        ("mmap", (0, 4096, 0b011 | 2**32, 0x22, 2**64 - 1, 0), DENY),
        ("mprotect", (4096, 4096, 0b011), ALLOW),
        ("mprotect", (4096, 4096, 0b100), DENY),
        ("sendto", (CONNECTION, 1, 1, 0, 0, 0), ALLOW),
        ("sendto", (CONNECTION, 1, 1, 1, 0, 0), DENY),
        ("sendto", (CONNECTION, 1, 1, 0, 2**32, 16), DENY),
        ("sendto", (CONNECTION + 1, 1, 1, 0, 0, 0), DENY),
        ("recvfrom", (CONNECTION, 1, 1, 0, 0, 0), ALLOW),
        ("recvfrom", (0, 1, 1, 0, 0, 0), DENY),
        ("prlimit64", (0, 0, 0, 1), ALLOW),
        ("prlimit64", (PID, 0, 0, 1), DENY),
        ("prlimit64", (0, 9, 1, 0), DENY),
        ("tgkill", (PID, PID, signal.SIGABRT), ALLOW),
        ("tgkill", (PID, PID, signal.SIGSTOP), DENY),
        ("tgkill", (PID + 1, PID + 1, signal.SIGABRT), DENY),
        ("write", (2, 1, 1), ALLOW),
        ("write", (CONNECTION, 1, 1), DENY),
        ("close", (CONNECTION,), ALLOW),
        ("close", (2,), DENY),
        ("futex", (1, 128, 0, 0), ALLOW),
        ("futex", (1, 6, 0, 0), DENY),  # FUTEX_LOCK_PI
        ("futex", (1, 12, 0, 0), DENY),  # FUTEX_CMP_REQUEUE_PI
        ("madvise", (4096, 4096, 4), ALLOW),
        ("madvise", (4096, 4096, 100), DENY),  # MADV_HWPOISON
        ("clone3", (), UNAVAILABLE),
        ("execve", (), KILL),
        ("ptrace", (16, PID), KILL),
    ],
)
def test_arguments_decide_what_a_decoder_may_do(
    machine: str, name: str, arguments: tuple[int, ...], result: int
) -> None:
    assert decision("decoder", machine, name, *arguments) == result


@both_machines
@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("clone", (0x8000 | signal.SIGCHLD,), ALLOW),
        ("clone", (0x3D0F00,), DENY),  # a thread
        ("clone", (0x8000 | signal.SIGCHLD | 0x1000_0000,), DENY),  # CLONE_NEWUSER
        ("clone", (0x8000 | signal.SIGCHLD | 2**33,), DENY),  # CLONE_INTO_CGROUP
        ("prctl", (22, 2), ALLOW),
        ("prctl", (36, 1), DENY),  # PR_SET_CHILD_SUBREAPER
        ("prlimit64", (0, 9, 1, 0), ALLOW),
        ("prlimit64", (PID, 9, 1, 0), DENY),
        ("tgkill", (1, 1, signal.SIGKILL), DENY),
        ("ioctl", (3, 0x5421), ALLOW),
        ("ioctl", (3, 0x5412), DENY),  # TIOCSTI
        ("execve", (), KILL),
    ],
)
def test_arguments_decide_what_the_zygote_may_do(
    machine: str, name: str, arguments: tuple[int, ...], result: int
) -> None:
    assert decision("zygote", machine, name, *arguments) == result


@both_machines
def test_the_zygote_may_do_everything_that_a_decoder_may_do(machine: str) -> None:
    column = ARCHITECTURES[machine].column
    zygote = {call.numbers[column] for call in POLICIES["zygote"].allowed}
    assert {call.numbers[column] for call in POLICIES["decoder"].allowed} <= zygote


@both_machines
def test_every_jump_of_a_program_stays_within_it(machine: str) -> None:
    for policy in POLICIES:
        program = PROGRAMS[policy, machine]
        for at, (operation, if_true, if_false, _) in enumerate(program):
            assert 0 <= if_true < 256
            assert 0 <= if_false < 256
            assert operation == 0x06 or at + 1 + max(if_true, if_false) < len(program)
        assert program[-1] == (0x06, 0, 0, DENY)


@both_machines
def test_the_numbers_are_those_of_the_kernel(machine: str) -> None:
    library = ctypes.util.find_library("seccomp")
    if library is None:
        pytest.skip("libseccomp is not installed")
    resolve = ctypes.CDLL(library).seccomp_syscall_resolve_name_arch
    resolve.argtypes, resolve.restype = [ctypes.c_uint32, ctypes.c_char_p], ctypes.c_int
    architecture = ARCHITECTURES[machine]
    for call in all_calls():
        number = call.numbers[architecture.column]
        resolved = resolve(architecture.audit, call.name.encode())
        assert (number if number is not None else -1) == max(resolved, -1), call.name


@pytest.mark.skipif(seccomp.program_for(POLICIES["decoder"]) is None, reason="there is no such filter here")
@given(connection=st.integers(0, 2**31 - 1), pid=st.integers(1, 2**31 - 1))
def test_the_program_of_a_decoder_has_its_own_numbers(connection: int, pid: int) -> None:
    policy = decoder_policy(connection=connection, pid=pid)
    assert decoder_program(connection=connection, pid=pid) == seccomp.program_for(policy)


def all_calls() -> list[SystemCall]:
    return [
        call for policy in POLICIES.values() for call in policy.allowed + policy.unavailable + policy.fatal
    ]
