"""Numbers of the system calls that the probe makes, from the kernel's tables."""

from typing import Final

_TABLE: Final = """
open 2 -; readlinkat 267 78; fchownat 260 54; openat 257 56; openat2 437 437; creat 85 -; stat 4 -;
newfstatat 262 79; statx 332 291; access 21 -; faccessat2 439 439; readlink 89 -; getdents64 217 61; statfs
137 43; getcwd 79 17; chdir 80 49; fchdir 81 50; chroot 161 51; mkdir 83 -; mkdirat 258 34; unlink 87 -;
unlinkat 263 35; rename 82 -; renameat2 316 276; link 86 -; linkat 265 37; symlink 88 -; symlinkat 266 36;
mknod 133 -; mknodat 259 33; truncate 76 45; ftruncate 77 46; fallocate 285 47; chmod 90 -; fchmod 91 52;
fchmodat 268 53; chown 92 -; fchown 93 55; utimensat 280 88; setxattr 188 5; fsetxattr 190 7; getxattr 191
8; flock 73 32; umask 95 166; inotify_init1 294 26; fanotify_init 300 262; name_to_handle_at 303 264;
open_by_handle_at 304 265; sendfile 40 71; splice 275 76; tee 276 77; vmsplice 278 75; copy_file_range 326
285; pipe2 293 59; dup 32 23; dup3 292 24; epoll_create1 291 20; eventfd2 290 19; timerfd_create 283 85;
signalfd4 289 74; read 0 63; write 1 64; readv 19 65; writev 20 66; pread64 17 67; lseek 8 62; fstat 5 80;
fsync 74 82; sync 162 81; fcntl 72 25; ioctl 16 29; process_vm_readv 310 270; process_vm_writev 311 271;
ptrace 101 117; pidfd_open 434 434; pidfd_getfd 438 438; pidfd_send_signal 424 424; process_madvise 440 440;
process_mrelease 448 448; kcmp 312 272; kill 62 129; tkill 200 130; tgkill 234 131; rt_sigqueueinfo 129 138;
rt_tgsigqueueinfo 297 240; prlimit64 302 261; setpriority 141 140; getpriority 140 141; sched_setaffinity
203 122; sched_setscheduler 144 119; sched_setparam 142 118; sched_setattr 314 274; ioprio_set 251 30;
migrate_pages 256 238; move_pages 279 239; get_robust_list 274 100; setsid 112 157; setpgid 109 154; prctl
157 167; rt_sigaction 13 134; alarm 37 -; setitimer 38 103; timer_create 222 107; fork 57 -; vfork 58 -;
clone 56 220; clone3 435 435; execve 59 221; execveat 322 281; wait4 61 260; waitid 247 95; pause 34 -;
nanosleep 35 101; shmget 29 194; shmat 30 196; shmctl 31 195; semget 64 190; semop 65 193; msgget 68 186;
msgsnd 69 189; mq_open 240 180; memfd_create 319 279; memfd_secret 447 447; mmap 9 222; mprotect 10 226;
mlock 149 228; mlockall 151 230; munlockall 152 231; remap_file_pages 216 234; pkey_mprotect 329 288;
set_mempolicy 238 237; mbind 237 235; membarrier 324 283; socket 41 198; socketpair 53 199; connect 42 203;
bind 49 200; listen 50 201; accept4 288 242; shutdown 48 210; setsockopt 54 208; getsockopt 55 209;
getsockname 51 204; getpeername 52 205; sendto 44 206; sendmsg 46 211; sendmmsg 307 269; recvfrom 45 207;
recvmsg 47 212; io_uring_setup 425 425; io_uring_enter 426 426; bpf 321 280; perf_event_open 298 241;
userfaultfd 323 282; keyctl 250 219; add_key 248 217; request_key 249 218; unshare 272 97; setns 308 268;
mount 165 40; umount2 166 39; pivot_root 155 41; open_tree 428 428; fsopen 430 430; move_mount 429 429;
mount_setattr 442 442; init_module 175 105; finit_module 313 273; delete_module 176 106; kexec_load 246 104;
kexec_file_load 320 294; reboot 169 142; syslog 103 116; swapon 167 224; acct 163 89; quotactl 179 60;
personality 135 92; iopl 172 -; ioperm 173 -; modify_ldt 154 -; arch_prctl 158 -; settimeofday 164 170;
clock_settime 227 112; adjtimex 159 171; sethostname 170 161; setuid 105 146; setgid 106 144; setgroups 116
159; setresuid 117 147; capset 126 91; capget 125 90; seccomp 317 277; landlock_create_ruleset 444 444;
landlock_restrict_self 446 446; futex 202 98; futex_waitv 449 449; set_robust_list 273 99; rseq 334 293;
sched_yield 24 124; sysinfo 99 179; uname 63 160; getuid 102 174; getppid 110 173; getrandom 318 278; times
100 153; vhangup 153 58; lookup_dcookie 212 18; close_range 436 436; cachestat 451 451; poll 7 -; ppoll 271
73; select 23 -; pselect6 270 72; epoll_ctl 233 21; restart_syscall 219 128; rt_sigreturn 15 139;
sigaltstack 131 132; exit 60 93; gettimeofday 96 169
"""
"""Name, number on x86_64, number on aarch64; a dash where the call does not exist."""

NUMBERS: Final[dict[str, dict[str, int]]] = {"x86_64": {}, "aarch64": {}}
"""Machine -> name -> number."""

for _entry in _TABLE.split(";"):
    _name, *_numbers = _entry.split()
    for _machine, _number in zip(NUMBERS, _numbers, strict=True):
        if _number != "-":
            NUMBERS[_machine][_name] = int(_number)
