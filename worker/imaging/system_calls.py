"""Which system calls decoder processes may make, with their numbers on x86_64 and aarch64."""

import mmap
import resource
import signal
from typing import Final

from worker.imaging.seccomp import Argument, Policy, SystemCall

_READ_AND_WRITE: Final = mmap.PROT_READ | mmap.PROT_WRITE
_PRIVATE_MEMORY: Final = (0x22, 0x4022)  # MAP_PRIVATE and MAP_ANONYMOUS, also with MAP_NORESERVE
_RELEASE_OR_HUGE: Final = (4, 8, 14)  # MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE
_FORK: Final = 0x8000 | signal.SIGCHLD  # the worker process is the parent of the fork
_WAIT_AND_WAKE: Final = (128, 129, 137, 393)  # FUTEX_WAIT, _WAKE and _WAIT_BITSET, private
_STDERR: Final = 2

_NO_FLAGS: Final = Argument(3, values=(0,))
_NO_ADDRESS: Final = Argument(4, values=(0,), is_long=True)

_COMPUTE: Final = (
    SystemCall("brk", (12, 214)),
    SystemCall(
        "mmap",
        (9, 222),
        (
            Argument(2, bits=_READ_AND_WRITE, is_long=True),
            Argument(3, values=_PRIVATE_MEMORY, is_long=True),
        ),
    ),
    SystemCall("munmap", (11, 215)),
    SystemCall("mremap", (25, 216)),
    SystemCall("mprotect", (10, 226), (Argument(2, bits=_READ_AND_WRITE, is_long=True),)),
    SystemCall("madvise", (28, 233), (Argument(2, values=_RELEASE_OR_HUGE),)),
    SystemCall("clock_gettime", (228, 113)),  # for clocks that the vDSO cannot read
    SystemCall("getrusage", (98, 165)),
    SystemCall("futex", (202, 98), (Argument(1, values=_WAIT_AND_WAKE),)),  # locks of libraries
    SystemCall("getrandom", (318, 278)),  # hash tables of Rust
    SystemCall("getpid", (39, 172)),
    SystemCall("gettid", (186, 178)),
    SystemCall("rt_sigprocmask", (14, 135)),  # abort(3)
    SystemCall("exit_group", (231, 94)),
)
_ATTACKS: Final = (
    *(
        SystemCall(name, numbers)
        for name, numbers in (
            ("execve", (59, 221)),
            ("execveat", (322, 281)),
            ("ptrace", (101, 117)),
            ("process_vm_readv", (310, 270)),
            ("process_vm_writev", (311, 271)),
            ("process_madvise", (440, 440)),
            ("pidfd_getfd", (438, 438)),
            ("pidfd_send_signal", (424, 424)),
            ("kcmp", (312, 272)),
            ("io_uring_setup", (425, 425)),
            ("io_uring_enter", (426, 426)),
            ("io_uring_register", (427, 427)),
            ("bpf", (321, 280)),
            ("userfaultfd", (323, 282)),
            ("perf_event_open", (298, 241)),
            ("add_key", (248, 217)),
            ("request_key", (249, 218)),
            ("keyctl", (250, 219)),
            ("unshare", (272, 97)),
            ("setns", (308, 268)),
            ("chroot", (161, 51)),
            ("pivot_root", (155, 41)),
            ("mount", (165, 40)),
            ("umount2", (166, 39)),
            ("open_tree", (428, 428)),
            ("move_mount", (429, 429)),
            ("fsopen", (430, 430)),
            ("open_by_handle_at", (304, 265)),
            ("kexec_load", (246, 104)),
            ("kexec_file_load", (320, 294)),
            ("init_module", (175, 105)),
            ("finit_module", (313, 273)),
            ("memfd_create", (319, 279)),
            ("shmget", (29, 194)),
            ("shmat", (30, 196)),
        )
    ),
)


def decoder_policy(*, connection: int, pid: int) -> Policy:
    """
    Return what a decoder may do: compute, allocate memory, use its connection, abort and exit.

    Args:
        connection: File descriptor of the connection to the worker process.
        pid: Process id of the decoder, the only process that it may signal.
    """
    on_connection = Argument(0, values=(connection,))
    return Policy(
        allowed=(
            SystemCall("recvfrom", (45, 207), (on_connection, _NO_FLAGS, _NO_ADDRESS)),
            SystemCall("sendto", (44, 206), (on_connection, _NO_FLAGS, _NO_ADDRESS)),
            *_COMPUTE,
            SystemCall(  # the CPU time of an image is limited when it arrives
                "prlimit64",
                (302, 261),
                (Argument(0, values=(0,)), Argument(1, values=(resource.RLIMIT_CPU,))),
            ),
            SystemCall("write", (1, 64), (Argument(0, values=(_STDERR,)),)),  # standard error is /dev/null
            SystemCall(  # abort(3)
                "tgkill", (234, 131), (Argument(0, values=(pid,)), Argument(2, values=(signal.SIGABRT,)))
            ),
            SystemCall("close", (3, 57), (on_connection,)),
        ),
        unavailable=(SystemCall("clone3", (435, 435)),),  # glibc falls back to clone
        fatal=_ATTACKS,
    )


def zygote_policy() -> Policy:
    """
    Return what a process may do that forks decoders and confines each of them further.

    More than a decoder: any open socket, also with file descriptors as ancillary data, forks, limits of its
    own, and prctl(2), by which a fork installs its filter.
    """
    return Policy(
        allowed=(
            SystemCall("recvfrom", (45, 207), (_NO_FLAGS,)),
            SystemCall("sendto", (44, 206), (_NO_FLAGS, _NO_ADDRESS)),
            SystemCall("recvmsg", (47, 212)),
            SystemCall("sendmsg", (46, 211), (Argument(2, values=(0,)),)),
            *_COMPUTE,
            SystemCall("read", (0, 63)),
            SystemCall("write", (1, 64)),
            SystemCall("poll", (7, None)),
            SystemCall("ppoll", (271, 73)),
            SystemCall("getsockopt", (55, 209)),
            SystemCall("getsockname", (51, 204)),
            SystemCall("fcntl", (72, 25)),
            SystemCall("ioctl", (16, 29), (Argument(1, values=(0x5421, 0x5451)),)),  # FIONBIO and FIOCLEX
            SystemCall("dup2", (33, None)),
            SystemCall("dup3", (292, 24)),
            SystemCall("close", (3, 57)),
            SystemCall("clone", (56, 220), (Argument(0, values=(_FORK,), is_long=True),)),
            SystemCall("setsid", (112, 157)),  # of a fork
            SystemCall("getppid", (110, 173)),
            SystemCall("prctl", (157, 167), (Argument(0, values=(1, 4, 22, 38)),)),  # as in `confine_decoder`
            SystemCall("landlock_create_ruleset", (444, 444)),
            SystemCall("landlock_restrict_self", (446, 446)),
            SystemCall("prlimit64", (302, 261), (Argument(0, values=(0,)),)),
            # abort(3); any process id, because the filter holds for the forks too
            SystemCall("tgkill", (234, 131), (Argument(2, values=(signal.SIGABRT,)),)),
        ),
        unavailable=(SystemCall("clone3", (435, 435)),),
        fatal=_ATTACKS,
    )
