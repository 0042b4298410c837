"""The seccomp profile of sandboxes: what a pause process may ask of the kernel, and the runtime before it is one.

Upstream confines sandboxes by the runtime's default profile, which allows some 350 system calls on three architectures
for containers that do anything; compiling it costs 15 to 30 ms of a processor for each sandbox, a tenth of a pod's
start. This one allows less and is compiled in no time. Pods that ask for a profile get theirs.
"""

from __future__ import annotations

import os
from pathlib import Path

import orjson

from twinplane.dataplane.kubelet import contract

NAME = "pause.json"
_ALLOWED = """
access arch_prctl brk capget capset chdir clock_gettime clock_nanosleep clone clone3 close close_range dup dup2 dup3
epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 execve execveat exit exit_group faccessat faccessat2 fchdir
fchown fcntl fstat fstatfs futex getcwd getdents64 getegid geteuid getgid getpgid getpid getppid getrandom getrlimit
gettid getuid ioctl kill lseek madvise membarrier mmap mprotect mremap munmap nanosleep newfstatat open openat openat2
pause pidfd_open pidfd_send_signal pipe pipe2 poll ppoll prctl pread64 prlimit64 read readlink readlinkat
restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait
sched_getaffinity sched_yield set_robust_list set_tid_address setgid setgroups setpgid setresgid setresuid setsid setuid
sigaltstack signalfd4 stat statfs statx tgkill timerfd_create timerfd_settime umask uname wait4 waitid write writev
"""
"""A pause process that reaps, in C or Go, and the last steps of an OCI runtime before it executes one."""


def path() -> Path:
    return contract.seccomp_directory() / NAME


def write() -> None:
    """Before the first sandbox; an OCI `LinuxSeccomp`. Raises OSError."""
    content = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": _ALLOWED.split(), "action": "SCMP_ACT_ALLOW"}],
    }
    path().parent.mkdir(parents=True, exist_ok=True)
    partial = path().with_suffix(".partial")
    partial.write_bytes(orjson.dumps(content))
    os.replace(partial, path())
