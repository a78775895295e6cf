"""What the kernel refuses a worker, asked for by the worker itself and without any privilege.

Decides: the closed tables of system calls a worker is refused and of places it may read. Leaves to others: limits of
memory, time and file size (``worker``), what a query may say (``shape``, ``plan``).

Two layers, and a third where the node has privileges. A **filter of system calls** (seccomp): no program is started, no
process is made, traced, read or signalled, no socket is opened, no file is opened for writing, made, renamed or taken
away. **Rules of paths** (Landlock, Linux 5.13 and later): only the program's own libraries and the files of the
session's source are read, not the node's keys, store or settings beside them. A network namespace of its own comes
first where the node may make one. Where a layer is not to be had, on other systems and architectures, the others stand
alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import stat
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_SET_MODE_FILTER: Final = 1
_SECCOMP_FILTER_FLAG_TSYNC: Final = 1
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_CLONE_THREAD: Final = 0x00010000
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
"""BPF: load a word of the call, jump if equal, jump if a bit is set, return."""
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16

_ARCHITECTURES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Machine -> place in the tables below, and what the kernel calls it."""

_REFUSED: Final = {
    # programs and processes
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    # the kernel itself, and ways around this filter
    "unshare": (272, 97), "setns": (308, 268), "seccomp": (317, 277), "bpf": (321, 280), "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282), "perf_event_open": (298, 241), "open_by_handle_at": (304, 265), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "personality": (135, 92), "acct": (163, 89),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "reboot": (169, 142),
    "swapon": (167, 224), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsmount": (432, 432),
    # files
    "creat": (85, None), "truncate": (76, 45), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
    "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None), "unlinkat": (263, 35),
    "link": (86, None), "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36), "mknod": (133, None),
    "mknodat": (259, 33), "chmod": (90, None), "fchmodat": (268, 53), "chown": (92, None), "lchown": (94, None),
    "fchownat": (260, 54), "setxattr": (188, 5), "mq_open": (240, 180),
}  # fmt: skip
"""Call -> its number on x86-64 and on arm64."""

_ABSENT: Final = {"clone3": (435, 435), "openat2": (437, 437)}
"""Answered as if the kernel did not know them: their arguments lie in memory, where a filter cannot look; the C library
then takes the older call."""
_CLONE, _SOCKET, _KILL, _TGKILL = (56, 220), (41, 198), (62, 129), (234, 131)
_OPENS: Final = (((2, None), 1), ((257, 56), 2))
"""``open`` and ``openat``, and which argument says how."""


class _Call(NamedTuple):
    """Allowed where an argument equals a value, or has one of its bits, or has none of them."""

    number: int
    argument: int
    value: int
    test: int
    is_allowed: bool
    """What happens where the test holds; otherwise the opposite."""
    code: int


def forbid_system_calls(*, network: bool) -> bool:
    """Give up, for every thread and for good, the system calls a worker has no use for.

    Args:
        network: The source lies beyond this process: sockets stay.

    Returns:
        False where this machine has no such filter, or one that is not known here.
    """
    place, arch = _ARCHITECTURES.get(platform.machine(), (None, 0))
    if place is None or not sys.platform.startswith("linux"):
        return False
    program = _program(place, arch, network=network)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    code = ctypes.create_string_buffer(b"".join(program))
    filter_program = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    number = _REFUSED["seccomp"][place]
    return bool(
        libc.syscall(number, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC, ctypes.byref(filter_program)) == 0
    )


def _program(place: int, arch: int, *, network: bool) -> list[bytes]:
    refused = [(numbers[place], errno.EPERM) for numbers in _REFUSED.values()]
    refused += [(numbers[place], errno.ENOSYS) for numbers in _ABSENT.values()]
    refused += [] if network else [(_SOCKET[place], errno.EPERM)]
    own = os.getpid()
    calls = [
        _Call(_CLONE[place], 0, _CLONE_THREAD, _ANY_BIT, True, errno.EPERM),
        _Call(_KILL[place], 0, own, _EQUAL, True, errno.EPERM),
        _Call(_TGKILL[place], 0, own, _EQUAL, True, errno.EPERM),
        *(
            _Call(numbers[place] or 0, argument, _WRITING, _ANY_BIT, False, errno.EACCES)
            for numbers, argument in _OPENS
            if numbers[place] is not None
        ),
    ]
    program = [_step(_LOAD, _ARCH_AT), _step(_EQUAL, arch, 1, 0), _answer(errno.EPERM), _step(_LOAD, _NUMBER_AT)]
    for number, code in refused:
        if number is not None:
            program += [_step(_EQUAL, number, 0, 1), _answer(code)]
    for call in calls:
        program += _conditional(call)
    if place == 0:  # the same calls by other numbers (x32)
        program += [_step(_ANY_BIT, 0x40000000, 0, 1), _answer(errno.EPERM)]
    return [*program, _step(_RETURN, _ALLOW)]


def _conditional(call: _Call) -> list[bytes]:
    """Five steps that end the filter for one call, and are jumped over for every other."""
    yes, no = (
        (_step(_RETURN, _ALLOW), _answer(call.code))
        if call.is_allowed
        else (_answer(call.code), _step(_RETURN, _ALLOW))
    )
    return [
        _step(_EQUAL, call.number, 0, 4),
        _step(_LOAD, _ARGUMENTS_AT + 8 * call.argument),
        _step(call.test, call.value, 0, 1),
        yes,
        no,
    ]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("@HBBI", code, if_true, if_false, value)


def _answer(code: int) -> bytes:
    return _step(_RETURN, _ERRNO | code)


# --- paths ------------------------------------------------------------------------------------------------------------

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG: Final = 1
_PATH_BENEATH: Final = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_HANDLED: Final = ((1, 0x1FFF), (2, 0x3FFF), (3, 0x7FFF))
"""Version of the kernel's interface -> all it can refuse about files, reading and running included."""

_LIBRARIES: Final = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime")
_MACHINE: Final = (
    "/proc/self", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/cgroups", "/sys/fs/cgroup",
    "/sys/devices/system", "/dev/null", "/dev/urandom", "/dev/random",
)  # fmt: skip
"""What libraries ask about the machine: memory, processors, chance."""
_RESOLVING: Final = (
    "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/services",
    "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/run/systemd/resolve",
)  # fmt: skip
"""What a client of the network reads."""


def version() -> int:
    """Version of the kernel's rules of paths; 0 or less where it has none."""
    if not sys.platform.startswith("linux"):
        return 0
    return int(ctypes.CDLL(None).syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG))


def keep_to(files: Iterable[Path], *, network: bool, folders: Iterable[Path] = ()) -> bool:
    """Give up, for this thread and all it starts, every file but the program's own and these.

    Args:
        files: What the source reads; what a database keeps beside a file goes with it.
        network: Whether names are resolved and certificates checked.
        folders: What may be listed; what lies in them is not read by that.

    Returns:
        False where the kernel has no such rules.
    """
    known = version()
    if known < 1:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    handled = max(mask for least, mask in _HANDLED if least <= known)
    rules = ctypes.create_string_buffer(struct.pack("@Q", handled), 8)
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.byref(rules), 8, 0)
    if ruleset < 0:
        return False
    try:
        own = (sys.prefix, sys.base_prefix, *sys.path, *_LIBRARIES, *_MACHINE, *(_RESOLVING if network else ()))
        for path in (*map(Path, filter(None, own)), *_with_companions(files)):
            _allow(libc, ruleset, path)
        for path in folders:
            _allow(libc, ruleset, path, _READ_DIR)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _with_companions(files: Iterable[Path]) -> Sequence[Path]:
    return [
        beside
        for file in files
        for beside in (file, *(file.with_name(f"{file.name}{end}") for end in (".wal", "-wal", "-shm", "-journal")))
    ]


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int = _READ_FILE | _READ_DIR) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there is not read
    try:
        is_folder = stat.S_ISDIR(os.fstat(place).st_mode)
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights if is_folder else _READ_FILE, place))
        libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(place)
