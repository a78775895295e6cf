"""A program inside a real worker tries to get out (Q6)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from trustnode.engine import sandbox
from trustnode.engine.process import _PACKAGE_ROOT

PROBE = '''
import ctypes, errno, json, os, signal, socket, subprocess, sys, threading
from pathlib import Path
from trustnode.engine import sandbox, worker
from trustnode.engine.source import Source

secret, data, out, parent = Path(sys.argv[5]), Path(sys.argv[6]), Path(sys.argv[7]), os.getppid()
libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")

def engine(sql):
    import duckdb
    try:
        duckdb.connect().sql(sql).fetchall()
    except duckdb.IOException as failure:
        raise PermissionError(errno.EACCES, str(failure)) from None

ATTEMPTS = {
    "network: tcp": lambda: socket.create_connection(("127.0.0.1", int(sys.argv[8])), 1),
    "network: udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "network: tcp over ipv6": lambda: socket.socket(socket.AF_INET6),
    "network: local socket of the operator": lambda: socket.socket(socket.AF_UNIX).connect(str(secret)),
    "network: netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "network: raw packets": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "process: subprocess": lambda: subprocess.run(["/bin/true"], check=True),
    "process: spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "process: fork": os.fork,
    "process: exec": lambda: os.execv("/bin/true", ["true"]),
    "process: shell": lambda: (_ for _ in ()).throw(OSError(errno.EPERM, "")) if os.system("true") else None,
    "process: signal to the node": lambda: os.kill(parent, 0),
    "process: signal to a thread of the node": lambda: call(200 if sandbox.platform.machine() == "x86_64" else 130, parent, 0),
    "ptrace: attach": lambda: call(sandbox._REFUSED["ptrace"][MACHINE], 16, parent, 0, 0),
    "ptrace: memory of the node": lambda: open(f"/proc/{parent}/mem", "rb"),
    "ptrace: read by call": lambda: call(sandbox._REFUSED["process_vm_readv"][MACHINE], parent, 0, 0, 0, 0, 0),
    "ptrace: environment of the node": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
    "file: read a secret": secret.read_bytes,
    "file: list its folder": lambda: list(secret.parent.iterdir()),
    "file: read by the engine": lambda: engine(f"SELECT * FROM read_text('{secret}')"),
    "file: write": lambda: out.write_text("x"),
    "file: write by the engine": lambda: engine(f"COPY (SELECT 1) TO '{out}'"),
    "file: append": lambda: data.open("ab"),
    "file: take away": data.unlink,
    "file: rename": lambda: data.rename(out),
    "file: folder": out.mkdir,
    "file: link": lambda: out.symlink_to(secret),
    "file: rights": lambda: data.chmod(0o777),
    "file: shared memory": lambda: Path("/dev/shm/trustnode-probe").write_text("x"),
    "kernel: another namespace": lambda: call(sandbox._REFUSED["unshare"][MACHINE], 0x10000000),
    "kernel: ring of calls": lambda: call(425, 1, 0),
    "kernel: mount": lambda: call(sandbox._REFUSED["mount"][MACHINE], 0, 0, 0, 0, 0),
}
MACHINE = sandbox._ARCHITECTURES.get(sandbox.platform.machine(), (0, 0))[0]

def tried(attempt):
    try:
        attempt()
    except OSError as failure:
        return errno.errorcode.get(failure.errno, str(failure))
    return "done"

def probe(self):
    """In place of serving: what a query that broke out of everything would find."""
    worker.keep_to_sources(Source("csv", str(data)))
    found = {name: tried(attempt) for name, attempt in ATTEMPTS.items()}
    thread = threading.Thread(target=lambda: found.update(thread="runs"))
    thread.start()
    thread.join()
    engine(f"SELECT * FROM read_csv('{data}')")
    import xml.dom.minidom  # a library that nobody has asked for yet
    os.write(1, json.dumps(found).encode())
    os._exit(0)

worker.Worker.serve = probe
worker.main()
'''
REFUSED = {"EPERM", "EACCES", "ENOSYS"}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sandbox")
    (folder / "home").mkdir()
    secret, data = folder / "home" / "root.key", folder / "data.csv"
    secret.write_text("the key of the node")
    data.write_text("a\n1\n")
    (one, ours), (two, also_ours) = socket.socketpair(), socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as server, one, two, ours, also_ours:
        port = str(server.getsockname()[1])
        fds = [one.fileno(), two.fileno()]
        arguments = [*map(str, fds), str(os.getpid()), "confined", str(secret), str(data), str(folder / "out"), port]
        done = subprocess.run(
            [sys.executable, "-P", "-s", "-c", PROBE, *arguments],
            pass_fds=fds,
            env={"PYTHONPATH": str(_PACKAGE_ROOT), "LANG": "C.UTF-8", "TZ": "UTC"},
            capture_output=True,
            timeout=60,
            check=False,
            cwd="/",
        )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout), data


def has_rules_of_paths():
    return sandbox.version() >= 1


READS = ("file: read a secret", "file: list its folder", "file: read by the engine", "ptrace: environment of the node")


def test_q6_nothing_that_a_worker_tries_gets_out(found):
    tried, data = found
    assert tried.pop("thread") == "runs"
    if not has_rules_of_paths():
        for name in READS:
            tried.pop(name)
    assert len(tried) > 25
    assert {name: result for name, result in tried.items() if result not in REFUSED} == {}
    assert data.read_text() == "a\n1\n"


@pytest.mark.skipif(not has_rules_of_paths(), reason="this kernel has no rules of paths")
@pytest.mark.parametrize("name", READS)
def test_q6_a_worker_reads_the_files_of_its_source_and_no_other(found, name):
    assert found[0].get(name, "EACCES") == "EACCES"


@pytest.mark.parametrize("table", [sandbox._REFUSED, sandbox._ABSENT])
def test_q6_a_call_stands_in_the_table_once(table):
    for place in (0, 1):
        numbers = [numbers[place] for numbers in table.values() if numbers[place] is not None]
        assert len(numbers) == len(set(numbers))
