"""Which system calls decoder processes may make, with their numbers on x86_64 and aarch64."""

import mmap
import resource
import signal
from typing import Final

from worker.imaging.seccomp import Argument, Policy, SystemCall

_READ_AND_WRITE: Final = mmap.PROT_READ | mmap.PROT_WRITE
_PRIVATE_MEMORY: Final = 0x4022  # MAP_PRIVATE, MAP_ANONYMOUS and MAP_NORESERVE
_FORK: Final = 0x0120_0000 | signal.SIGCHLD  # CLONE_CHILD_SETTID and CLONE_CHILD_CLEARTID: fork(3) of glibc
_FUTEX_OPERATIONS: Final = (0, 1, 9, 10, 128, 129, 137, 138, 256 | 137, 256 | 9)
"""FUTEX_WAIT and FUTEX_WAKE, also with a bit set, private or on the real-time clock."""

_MEMORY: Final = (
    SystemCall((12, 214)),  # brk
    SystemCall((11, 215)),  # munmap
    SystemCall((25, 216)),  # mremap
    SystemCall(  # mmap
        (9, 222), (Argument(2, bits=_READ_AND_WRITE, is_long=True), Argument(3, bits=_PRIVATE_MEMORY))
    ),
    SystemCall((10, 226), (Argument(2, bits=_READ_AND_WRITE, is_long=True),)),  # mprotect
    SystemCall((28, 233)),  # madvise
)
_CLOCKS: Final = (
    SystemCall((228, 113)),  # clock_gettime: the vDSO makes it where it cannot read the clock itself
    SystemCall((96, 169)),  # gettimeofday
    SystemCall((98, 165)),  # getrusage
)
_THREADS: Final = (
    SystemCall((202, 98), (Argument(1, values=_FUTEX_OPERATIONS),)),  # futex
    SystemCall((24, 124)),  # sched_yield
)
_OWN_PROCESS: Final = (
    SystemCall((39, 172)),  # getpid
    SystemCall((186, 178)),  # gettid
    SystemCall((318, 278)),  # getrandom
    SystemCall((231, 94)),  # exit_group
    SystemCall((60, 93)),  # exit
    SystemCall((15, 139)),  # rt_sigreturn
    SystemCall((14, 135)),  # rt_sigprocmask
)


def decoder_policy(*, connection: int, pid: int) -> Policy:
    """
    Return what a decoder may do: compute, allocate memory, use its connection, abort and exit.

    Args:
        connection: File descriptor of the connection to the worker process.
        pid: Process id of the decoder, the only process that it may signal.
    """
    no_address = Argument(4, values=(0,), is_long=True)
    on_connection = Argument(0, values=(connection,))
    return Policy(
        allowed=(
            SystemCall((45, 207), (on_connection, no_address)),  # recvfrom
            SystemCall((44, 206), (on_connection, no_address)),  # sendto
            *_MEMORY,
            *_CLOCKS,
            *_THREADS,
            SystemCall(  # prlimit64: the CPU time of an image is limited when it arrives
                (302, 261), (Argument(0, values=(0,)), Argument(1, values=(resource.RLIMIT_CPU,)))
            ),
            SystemCall(  # tgkill: abort(3)
                (234, 131), (Argument(0, values=(pid,)), Argument(2, values=(signal.SIGABRT,)))
            ),
            SystemCall((3, 57)),  # close
            *_OWN_PROCESS,
        ),
        unavailable=(SystemCall((435, 435)),),  # clone3: glibc falls back to clone
    )


def zygote_policy() -> Policy:
    """
    Return what a process may do that forks decoders and confines each of them further.

    More than a decoder: any open socket, also with file descriptors as ancillary data, fork(3), waiting for
    children, limits of its own, and prctl(2), by which a fork installs its filter.
    """
    own = Argument(0, values=(0,))
    return Policy(
        allowed=(
            SystemCall((45, 207)),  # recvfrom
            SystemCall((44, 206), (Argument(4, values=(0,), is_long=True),)),  # sendto
            SystemCall((47, 212)),  # recvmsg
            SystemCall((46, 211)),  # sendmsg
            SystemCall((0, 63)),  # read
            SystemCall((1, 64)),  # write
            SystemCall((7, None)),  # poll
            SystemCall((271, 73)),  # ppoll
            SystemCall((55, 209)),  # getsockopt
            SystemCall((51, 204)),  # getsockname
            SystemCall((72, 25)),  # fcntl
            SystemCall((16, 29), (Argument(1, values=(0x5421, 0x5451)),)),  # ioctl: FIONBIO and FIOCLEX
            SystemCall((33, None)),  # dup2
            SystemCall((292, 24)),  # dup3
            SystemCall((56, 220), (Argument(0, values=(_FORK,), is_long=True),)),  # clone
            SystemCall((61, 260)),  # wait4
            SystemCall((247, 95)),  # waitid
            SystemCall((434, 434)),  # pidfd_open
            SystemCall((110, 173)),  # getppid
            SystemCall((273, 99)),  # set_robust_list: the first call of a fork
            SystemCall((13, 134)),  # rt_sigaction
            SystemCall((157, 167), (Argument(0, values=(1, 4, 22, 38)),)),  # prctl: as in `confine_decoder`
            SystemCall((302, 261), (own,)),  # prlimit64
            # tgkill: abort(3); no process id, because the filter holds for the forks too
            SystemCall((234, 131), (Argument(2, values=(signal.SIGABRT,)),)),
            SystemCall((444, 444)),  # landlock_create_ruleset
            SystemCall((446, 446)),  # landlock_restrict_self
            SystemCall((3, 57)),  # close
            *_MEMORY,
            *_CLOCKS,
            *_THREADS,
            *_OWN_PROCESS,
        ),
        unavailable=(SystemCall((435, 435)),),  # clone3
    )
