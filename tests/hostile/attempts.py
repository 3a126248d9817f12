"""
What code that has taken over a decoder could try, each attempt a system call with its arguments.

The list is data: the probe makes each call inside a confined decoder, `docs/security.md` lists the results,
and a test makes the calls marked as harmful in an unconfined process to show that they would work there.
"""

import ctypes
import os
import platform
from dataclasses import dataclass
from typing import Final, TypeAlias

from tests.hostile.numbers import NUMBERS

Value: TypeAlias = int | str | bytes
"""A number, the name of a value of `Target`, or text whose address is passed."""


@dataclass(frozen=True)
class Target:
    """What the attempts are directed at."""

    parent: int
    sibling: int
    token_file: str
    folder: str
    connection: int

    def resolve(self, value: Value) -> int | bytes:
        match value:
            case "PARENT":
                return self.parent
            case "SIBLING":
                return self.sibling
            case "CONNECTION":
                return self.connection
            case "OWN":
                return os.getpid()
            case "BUFFER":
                return ctypes.addressof(_BUFFER)
            case str():
                text = value.format(parent=self.parent, sibling=self.sibling, token=self.token_file)
                return text.replace("FOLDER", self.folder).encode()
            case _:
                return value


_BUFFER: Final = ctypes.create_string_buffer(4096)
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long


@dataclass(frozen=True)
class Attempt:
    """
    An attempt.

    Attributes:
        section: Section of the table in the documentation.
        title: What it tries.
        call: Name of the system call.
        arguments: Its arguments.
        is_harmful: Whether it works in an unconfined process of the same user.
    """

    section: str
    title: str
    call: str
    arguments: tuple[Value, ...] = ()
    is_harmful: bool = False

    @property
    def number(self) -> int | None:
        """Number of the system call on this machine; None if it does not exist."""
        return NUMBERS.get(platform.machine(), {}).get(self.call)

    def make(self, target: Target) -> str:
        """Make the call; return `possible`, or the name of the error."""
        number = self.number
        assert number is not None
        ctypes.memset(_BUFFER, 0, len(_BUFFER))
        ctypes.memmove(_BUFFER, b"\x00\x10\x00\x00\x00\x00\x00\x00" * 2, 16)
        return call(number, *map(target.resolve, self.arguments))


def call(number: int, *arguments: int | bytes) -> str:
    """Make a system call; return `possible`, or the name of the error."""
    passed = [ctypes.c_char_p(each) if isinstance(each, bytes) else ctypes.c_long(each) for each in arguments]
    passed += [ctypes.c_long(0)] * (6 - len(passed))
    if _LIBC.syscall(ctypes.c_long(number), *passed) >= 0:
        return "possible"
    return _ERRORS.get(ctypes.get_errno(), f"errno {ctypes.get_errno()}")


_ERRORS: Final = {1: "EPERM", 9: "EBADF", 13: "EACCES", 14: "EFAULT", 22: "EINVAL", 38: "ENOSYS"}

_CWD: Final = -100
_SIGABRT, _SIGCONT, _SIGCHLD = 6, 18, 17
_RDWR_CREAT: Final = 0o102
_THREAD_FLAGS: Final = 0x3D0F00


def _in(section: str, *rows: tuple[object, ...]) -> list[Attempt]:
    return [Attempt(section, *row) for row in rows]  # type: ignore[arg-type]  # rows are Attempt's fields


ATTEMPTS: Final = [
    *_in(
        "Secrets and files",
        (
            "read the environment of the worker process",
            "openat",
            (_CWD, "/proc/{parent}/environ", 0),
            True,
        ),
        ("open the memory of the worker process", "openat", (_CWD, "/proc/{parent}/mem", 2), True),
        ("open the memory of another decoder", "openat", (_CWD, "/proc/{sibling}/mem", 2), True),
        ("list the open files of the worker process", "openat", (_CWD, "/proc/{parent}/fd", 0), True),
        ("read its web identity token file", "openat", (_CWD, "{token}", 0), True),
        ("read a file of the system", "openat", (_CWD, "/etc/passwd", 0), True),
        ("open a file with openat2", "openat2", (_CWD, "/etc/passwd", "BUFFER", 24)),
        ("read its own memory map", "openat", (_CWD, "/proc/self/maps", 0), True),
        ("open a file by handle", "open_by_handle_at", (_CWD, "BUFFER", 0)),
        ("get the handle of a file", "name_to_handle_at", (_CWD, "/etc/passwd", "BUFFER", "BUFFER", 0)),
        ("find out whether a file exists", "newfstatat", (_CWD, "{token}", "BUFFER", 0), True),
        ("find out whether a file exists, with statx", "statx", (_CWD, "{token}", 0, 1, "BUFFER"), True),
        ("find out whether a file can be read", "faccessat2", (_CWD, "{token}", 4, 0), True),
        ("read a symbolic link", "readlinkat", (_CWD, "/proc/self/exe", "BUFFER", 100)),
        ("read the working folder", "getcwd", ("BUFFER", 4096), True),
        ("change the working folder", "chdir", ("/tmp",), True),
        ("read the size of a file system", "statfs", ("/", "BUFFER"), True),
        ("read the attributes of a file", "getxattr", ("{token}", "user.a", "BUFFER", 10)),
        ("watch files", "inotify_init1", (0,), True),
        ("watch file systems", "fanotify_init", (0x200, 0)),
    ),
    *_in(
        "Changes to files",
        ("create a file", "openat", (_CWD, "FOLDER/created", _RDWR_CREAT, 0o600), True),
        ("create a file without a name", "openat", (_CWD, "FOLDER", 0o20200002, 0o600)),
        ("create a folder", "mkdirat", (_CWD, "FOLDER/folder", 0o700), True),
        ("create a device or pipe", "mknodat", (_CWD, "FOLDER/pipe", 0o010600, 0), True),
        ("create a symbolic link", "symlinkat", ("/etc", _CWD, "FOLDER/link"), True),
        ("create a hard link", "linkat", (_CWD, "{token}", _CWD, "FOLDER/hard", 0), True),
        ("rename a file", "renameat2", (_CWD, "{token}", _CWD, "{token}", 0), True),
        ("delete a file", "unlinkat", (_CWD, "FOLDER/none", 0)),
        ("truncate a file", "truncate", ("{token}", 100)),
        ("change the mode of a file", "fchmodat", (_CWD, "{token}", 0o600), True),
        ("change the owner of a file", "fchownat", (_CWD, "{token}", -1, -1, 0)),
        ("change the times of a file", "utimensat", (_CWD, "{token}", 0, 0), True),
        ("set an attribute of a file", "setxattr", ("{token}", "user.a", b"b", 1, 0)),
        ("truncate an open file", "ftruncate", (0, 100)),
        ("allocate space", "fallocate", (0, 0, 0, 100)),
        ("lock an open file", "flock", (0, 2)),
        ("write all file systems to disk", "sync", (), True),
        ("write to standard output", "write", (1, b"text", 4), True),
        ("write to its connection as a file", "write", ("CONNECTION", b"", 0)),
        ("read standard input", "read", (0, "BUFFER", 1), True),
        ("send a file", "sendfile", ("CONNECTION", 0, 0, 1)),
        ("copy between files", "copy_file_range", (0, 0, 1, 0, 1, 0)),
        ("splice files", "splice", (0, 0, "CONNECTION", 0, 1, 0)),
        ("create a pipe", "pipe2", ("BUFFER", 0), True),
        ("duplicate a file descriptor", "dup", (0,), True),
        ("close every file descriptor", "close_range", (100, 200, 0), True),
        ("change flags of a file descriptor", "fcntl", (0, 2, 0), True),
        ("have the kernel signal the worker process", "fcntl", ("CONNECTION", 8, "PARENT"), True),
        ("control a device", "ioctl", ("CONNECTION", 0x541B, "BUFFER"), True),
        ("map a file into memory", "mmap", (0, 4096, 1, 2, 0, 0)),
    ),
    *_in(
        "Memory and sockets of other processes",
        ("read memory of the worker process", "process_vm_readv", ("PARENT", "BUFFER", 0, "BUFFER", 0, 0)),
        ("write memory of the worker process", "process_vm_writev", ("PARENT", "BUFFER", 0, "BUFFER", 0, 0)),
        ("read memory of another decoder", "process_vm_readv", ("SIBLING", "BUFFER", 0, "BUFFER", 0, 0)),
        ("write memory of another decoder", "process_vm_writev", ("SIBLING", "BUFFER", 0, "BUFFER", 0, 0)),
        ("trace the worker process", "ptrace", (0x4206, "PARENT", 0, 0), True),
        ("trace another decoder", "ptrace", (0x4206, "SIBLING", 0, 0), True),
        ("be traced", "ptrace", (0, 0, 0, 0)),
        ("open a handle of the worker process", "pidfd_open", ("PARENT", 0), True),
        ("open a handle of another decoder", "pidfd_open", ("SIBLING", 0), True),
        ("take a socket of the worker process", "pidfd_getfd", (0, 3, 0)),
        ("advise on memory of another process", "process_madvise", (0, "BUFFER", 1, 20, 0)),
        ("free memory of another process", "process_mrelease", (0, 0)),
        ("compare resources of processes", "kcmp", ("OWN", "PARENT", 0, 0, 0), True),
        ("read the locks of the worker process", "get_robust_list", ("PARENT", "BUFFER", "BUFFER"), True),
        ("move pages of the worker process", "move_pages", ("PARENT", 0, 0, 0, "BUFFER", 0), True),
        ("migrate pages of the worker process", "migrate_pages", ("PARENT", 0, 0, 0)),
    ),
    *_in(
        "Signals",
        ("signal the worker process", "kill", ("PARENT", _SIGCONT), True),
        ("signal another decoder", "kill", ("SIBLING", _SIGCONT), True),
        ("signal its process group", "kill", (0, _SIGCONT), True),
        ("signal every process of the user", "kill", (-1, 0), True),
        ("abort the worker process", "tgkill", ("PARENT", "PARENT", _SIGABRT)),
        ("signal a thread of another decoder", "tgkill", ("SIBLING", "SIBLING", _SIGCONT), True),
        ("stop itself", "tgkill", ("OWN", "OWN", 0), True),
        ("signal any thread", "tkill", ("PARENT", _SIGCONT), True),
        ("queue a signal", "rt_sigqueueinfo", ("PARENT", _SIGCONT, "BUFFER")),
        ("queue a signal to a thread", "rt_tgsigqueueinfo", ("PARENT", "PARENT", _SIGCONT, "BUFFER")),
        ("signal by a handle", "pidfd_send_signal", (0, _SIGCONT, 0, 0)),
        ("handle signals", "rt_sigaction", (_SIGCONT, 0, 0, 8), True),
        ("set a timer", "timer_create", (0, 0, "BUFFER"), True),
        ("set an alarm", "setitimer", (0, "BUFFER", 0), True),
    ),
    *_in(
        "Limits and priorities",
        ("read limits of the worker process", "prlimit64", ("PARENT", 7, 0, "BUFFER"), True),
        ("lower limits of the worker process", "prlimit64", ("PARENT", 7, "BUFFER", 0), True),
        ("lower limits of another decoder", "prlimit64", ("SIBLING", 7, "BUFFER", 0), True),
        ("raise its own memory limit", "prlimit64", (0, 9, "BUFFER", 0), True),
        ("allow itself more open files", "prlimit64", (0, 7, "BUFFER", 0)),
        (
            "have the worker process killed first",
            "openat",
            (_CWD, "/proc/{parent}/oom_score_adj", 1),
            True,
        ),
        ("have itself killed last", "openat", (_CWD, "/proc/self/oom_score_adj", 1), True),
        ("change the priority of the worker process", "setpriority", (0, "PARENT", 19), True),
        ("change the priority of every process of the user", "setpriority", (2, 0, 5)),
        ("change the CPUs of the worker process", "sched_setaffinity", ("PARENT", 8, b"\xff" * 8), True),
        ("change its own CPUs", "sched_setaffinity", (0, 8, b"\xff" * 8), True),
        (
            "change the scheduler of the worker process",
            "sched_setscheduler",
            ("PARENT", 3, bytes(8)),
            True,
        ),
        ("change scheduling attributes", "sched_setattr", ("PARENT", "BUFFER", 0)),
        ("change the I/O priority of the worker process", "ioprio_set", (1, "PARENT", 3 << 13), True),
        ("lock memory", "mlockall", (1,)),
    ),
    *_in(
        "Processes and threads",
        ("fork", "clone", (_SIGCHLD, 0, 0, 0, 0)),
        ("fork as a child of the worker process", "clone", (0x8000 | _SIGCHLD, 0, 0, 0, 0)),
        ("fork with the old call", "fork", ()),
        ("fork with shared memory", "vfork", ()),
        ("start a thread", "clone", (_THREAD_FLAGS, 0, 0, 0, 0)),
        ("fork with clone3", "clone3", ("BUFFER", 64)),
        ("execute a program", "execve", ("/bin/true", 0, 0)),
        ("execute an open file", "execveat", (0, "", 0, 0, 0x1000)),
        ("wait for a child", "wait4", (-1, 0, 1, 0)),
        ("wait for any process", "waitid", (0, 0, 0, 5, 0)),
        ("outlive the worker process", "prctl", (1, 0, 0, 0, 0), True),
        ("become dumpable", "prctl", (4, 1, 0, 0, 0), True),
        ("adopt orphaned processes", "prctl", (36, 1, 0, 0, 0), True),
        ("rename itself", "prctl", (15, b"python", 0, 0, 0), True),
        ("start a session", "setsid", ()),
        ("join the group of the worker process", "setpgid", (0, "PARENT")),
        ("sleep", "nanosleep", ("BUFFER", 0)),
    ),
    *_in(
        "Shared memory and memory protection",
        ("create shared memory", "shmget", (0, 4096, 0o1600), True),
        ("attach shared memory", "shmat", (0, 0, 0)),
        ("create semaphores", "semget", (0, 1, 0o1600), True),
        ("create a message queue", "msgget", (0, 0o1600), True),
        ("open a POSIX message queue", "mq_open", ("queue", _RDWR_CREAT, 0o600, 0), True),
        ("create a file in memory", "memfd_create", ("name", 0), True),
        ("create secret memory", "memfd_secret", (0,)),
        ("allocate executable memory", "mmap", (0, 4096, 7, 0x22, -1, 0), True),
        ("make memory executable", "mprotect", (0, 4096, 7)),
        ("make memory executable, with a key", "pkey_mprotect", (0, 4096, 7, -1)),
        ("allocate shared memory", "mmap", (0, 4096, 3, 0x21, -1, 0), True),
        ("map memory at a fixed address", "mmap", (0x7000_0000, 4096, 3, 0x32, -1, 0), True),
        ("remap pages", "remap_file_pages", (0, 4096, 0, 0, 0)),
        ("lock pages", "mlock", ("BUFFER", 1), True),
        ("set the memory policy", "set_mempolicy", (0, 0, 0), True),
        ("issue memory barriers on other CPUs", "membarrier", (0, 0, 0), True),
    ),
    *_in(
        "Sockets",
        ("create an internet socket", "socket", (2, 1, 0), True),
        ("create a UNIX socket", "socket", (1, 1, 0), True),
        ("create a netlink socket", "socket", (16, 3, 0), True),
        ("create a socket of the kernel's ciphers", "socket", (38, 5, 0)),
        ("create a packet socket", "socket", (17, 3, 0)),
        ("create a virtual machine socket", "socket", (40, 1, 0)),
        ("create a pair of sockets", "socketpair", (1, 1, 0, "BUFFER"), True),
        ("connect its socket elsewhere", "connect", ("CONNECTION", "BUFFER", 16)),
        ("bind its socket", "bind", ("CONNECTION", b"\x01\x00\x00probe", 8)),
        ("listen on its socket", "listen", ("CONNECTION", 1)),
        ("accept connections", "accept4", ("CONNECTION", 0, 0, 0)),
        ("set options of its socket", "setsockopt", ("CONNECTION", 1, 8, "BUFFER", 4), True),
        ("read the process id of its peer", "getsockopt", ("CONNECTION", 1, 17, "BUFFER", "BUFFER")),
        ("read the address of its socket", "getsockname", ("CONNECTION", "BUFFER", "BUFFER")),
        ("send file descriptors", "sendmsg", ("CONNECTION", "BUFFER", 0)),
        ("receive file descriptors", "recvmsg", ("CONNECTION", "BUFFER", 0x40)),
        ("send several messages", "sendmmsg", ("CONNECTION", "BUFFER", 0, 0), True),
        ("send to an address", "sendto", ("CONNECTION", b"", 0, 0, b"\x01\x00\x00probe", 8)),
        ("send out of band", "sendto", ("CONNECTION", b"a", 1, 1, 0, 0)),
        ("send on another file descriptor", "sendto", (0, b"", 0, 0, 0, 0)),
        ("peek at what arrives", "recvfrom", ("CONNECTION", "BUFFER", 0, 0x42, 0, 0)),
    ),
    *_in(
        "Kernel interfaces",
        ("create an io_uring", "io_uring_setup", (1, "BUFFER")),
        ("load a BPF program", "bpf", (0, "BUFFER", 0)),
        ("count performance events", "perf_event_open", ("BUFFER", 0, -1, -1, 0)),
        ("handle page faults", "userfaultfd", (1,), True),
        ("read the kernel's keyrings", "keyctl", (0, -3, 1), True),
        ("add a key", "add_key", ("user", "probe", b"a", 1, -2), True),
        ("request a key", "request_key", ("user", "probe", 0, 0)),
        ("create a user namespace", "unshare", (0x1000_0000,), True),
        ("create a mount namespace", "unshare", (0x0002_0000,)),
        ("join a namespace", "setns", (0, 0)),
        ("mount a file system", "mount", ("none", "/tmp", "tmpfs", 0, 0)),
        ("unmount a file system", "umount2", ("FOLDER/none", 0)),
        ("change the root", "chroot", ("/tmp",)),
        ("exchange the root", "pivot_root", ("/tmp", "/tmp")),
        ("clone a mount", "open_tree", (_CWD, "/", 1)),
        ("open a file system", "fsopen", ("tmpfs", 0)),
        ("move a mount", "move_mount", (_CWD, "/tmp", _CWD, "/tmp", 0)),
        ("change a mount", "mount_setattr", (_CWD, "/tmp", 0, "BUFFER", 0)),
        ("load a kernel module", "finit_module", (0, "", 0)),
        ("load another kernel", "kexec_load", (0, 0, 0, 0)),
        ("restart the machine", "reboot", (0, 0, 0, 0)),
        ("read the kernel's log", "syslog", (10, 0, 0)),
        ("set the clock", "clock_settime", (0, "BUFFER")),
        ("adjust the clock", "adjtimex", ("BUFFER",)),
        ("set the host name", "sethostname", ("probe", 5)),
        ("change the user", "setresuid", (0, 0, 0)),
        ("change the group", "setgid", (0,)),
        ("change capabilities", "capset", ("BUFFER", 0)),
        ("change the execution domain", "personality", (0xFFFF_FFFF,), True),
        ("use I/O ports", "iopl", (3,)),
        ("change segments", "modify_ldt", (0, "BUFFER", 8), True),
        ("add a seccomp filter", "seccomp", (2, 0, "BUFFER")),
        ("create a Landlock ruleset", "landlock_create_ruleset", (0, 0, 1)),
        ("use a lock with priority inheritance", "futex", ("BUFFER", 6, 0, 0)),
        ("wait for several locks", "futex_waitv", ("BUFFER", 0, 0, 0, 0)),
        ("wait for files", "poll", ("BUFFER", 0, 0), True),
        ("watch file descriptors", "epoll_create1", (0,), True),
        ("create an event counter", "eventfd2", (0, 0), True),
        ("create a timer", "timerfd_create", (0, 0), True),
        ("receive signals as a file", "signalfd4", (-1, "BUFFER", 8, 0), True),
        ("read statistics of the system", "sysinfo", ("BUFFER",), True),
        ("read the name of the system", "uname", ("BUFFER",), True),
    ),
]
"""Every attempt, in the order of the table in the documentation."""


def by_title(title: str) -> Attempt:
    """Return an attempt."""
    (attempt,) = (each for each in ATTEMPTS if each.title == title)
    return attempt
