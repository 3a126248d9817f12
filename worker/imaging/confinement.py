"""
Confine a decoder process, or the zygote that forks decoder processes, before it reads its first image.

A process that is confined can no longer open files: it must have imported everything and have run each
format's decoder and encoder once (`worker.imaging.warm_up`).
"""

import os
import resource
import struct
import sys
from typing import Final

from worker.domain.confinement import Guarantee
from worker.imaging import landlock
from worker.imaging.seccomp import install, program_for
from worker.imaging.system_calls import decoder_policy, zygote_policy
from worker.ipc.process_attributes import die_with_parent, forbid_new_privileges, make_non_dumpable

MAX_OPEN_FILES: Final = 16

_CONNECTION, _PID = 0x5EC0_0001, 0x5EC0_0002
"""Stand for a decoder's own numbers in `_DECODER_PROGRAM`."""
_DECODER_PROGRAM: Final = program_for(decoder_policy(connection=_CONNECTION, pid=_PID))
_ZYGOTE_PROGRAM: Final = program_for(zygote_policy())
"""Compiled before the zygote forks: a third of a millisecond."""


def confine_decoder(
    *,
    connection: int,
    memory_mb: int,
    parent: int | None = None,
) -> frozenset[Guarantee]:
    """
    Confine this process to decoding images that arrive on its connection, irrevocably.

    Afterwards it can compute, allocate up to `memory_mb`, use the connection with send(2) and recv(2), limit
    its CPU time, abort and exit. Nothing can be opened, forked or signalled. The limits are those of a single
    process: since it cannot fork, they bound all that it can use.

    Call it once, after everything is imported and warmed up, in a process with a single thread. In a fork of
    the zygote, call it in the child as soon as it has its connection and has closed the zygote's socket.
    Standard error must be /dev/null, because it may still be written.

    Args:
        connection: File descriptor of the connection, the only one that may be used.
        memory_mb: Address space in mebibytes. Allocations beyond it fail, and Python raises MemoryError.
        parent: Process id of the zygote, if this process is a fork of it: the fork exits if it has ended.

    Returns:
        The guarantees that hold from now on.
    """
    guarantees = _restrict_process(parent)
    if _limit(resource.RLIMIT_AS, memory_mb * 1024 * 1024):
        guarantees.add(Guarantee.MEMORY_LIMIT)
    if (program := decoder_program(connection=connection, pid=os.getpid())) and install(program):
        guarantees.add(Guarantee.SECCOMP)
    return frozenset(guarantees)


def confine_zygote() -> frozenset[Guarantee]:
    """
    Confine this process to forking decoders, irrevocably.

    Like `confine_decoder`, but it may also fork with CLONE_PARENT, so that the worker process reaps the
    forks, start a session, send and receive on every socket that it has, with file descriptors in SCM_RIGHTS,
    poll, close and duplicate file descriptors, and set limits, attributes and filters: each fork calls
    `confine_decoder`, whose filter and Landlock domain are added to the zygote's. It cannot open files,
    create sockets, execute programs or signal other processes.

    Call it once, after everything is imported and warmed up, in a process with a single thread. Its address
    space is not limited, since a fork limits its own.

    Returns:
        The guarantees that hold from now on.
    """
    guarantees = _restrict_process()
    if _ZYGOTE_PROGRAM and install(_ZYGOTE_PROGRAM):
        guarantees.add(Guarantee.SECCOMP)
    return frozenset(guarantees)


def decoder_program(*, connection: int, pid: int) -> bytes | None:
    """Return the filter of a decoder; see `worker.imaging.system_calls.decoder_policy`."""
    program = _DECODER_PROGRAM
    for stand_in, number in ((_CONNECTION, connection), (_PID, pid)):
        program = program and program.replace(struct.pack("=I", stand_in), struct.pack("=I", number))
    return program


def limit_cpu_time(seconds: int) -> None:
    """
    Limit the CPU time that the process may use from now on; the kernel then ends it with SIGXCPU.

    The worker process's own timeout normally comes first; this limit holds when the worker process is stuck.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = int(used.ru_utime + used.ru_stime) + seconds + 1
    resource.setrlimit(
        resource.RLIMIT_CPU, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard)
    )


def _restrict_process(parent: int | None = None) -> set[Guarantee]:
    """Apply what decoders and the zygote have in common."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)
    results = {
        Guarantee.PARENT_DEATH_SIGNAL: die_with_parent(parent),
        Guarantee.NON_DUMPABLE: make_non_dumpable(),
        Guarantee.NO_NEW_PRIVILEGES: forbid_new_privileges(),
        Guarantee.LANDLOCK: landlock.deny_files(),
    }
    return {guarantee for guarantee, holds in results.items() if holds}


def _limit(kind: int, limit: int) -> bool:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    try:
        resource.setrlimit(kind, (limit, limit))
    except ValueError:
        if sys.platform != "linux":
            return False  # other systems define limits that cannot be set
        raise
    return True
