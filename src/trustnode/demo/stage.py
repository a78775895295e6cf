"""The stage: four nodes in four processes, the commands that are typed, and what each step must show.

Decides: where things lie, how a command is run and checked, that no process outlives the story. Leaves to others: the
story itself (``story``).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

WIDTH: Final = 80
READY_S: Final = 30.0
COMMAND_S: Final = 120.0


class Venue(NamedTuple):
    """One exchange of the story."""

    name: str
    domain: str
    title: str
    level: str
    area: str
    subject: str
    port: int


VENUES: Final = (
    Venue("nat", "nat.example", "National Data Exchange", "NATIONAL", "1100", "911100000000000001", 7441),
    Venue("zj", "zj.example", "Zhejiang Data Exchange", "REGIONAL", "3300", "913300000000000004", 7443),
    Venue("gz", "gz.example", "Guizhou Data Exchange", "REGIONAL", "5200", "915200000000000001", 7444),
    Venue("fin", "fin.example", "Finance Data Exchange", "INDUSTRY", "0066", "913100000000000002", 7445),
)


class StepFailedError(Exception):
    """A step of the story did not show what it must show."""


@dataclass
class Done:
    """A command that ended."""

    command: str
    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Everything it said."""
        return f"{self.out}\n{self.err}"


@dataclass
class Stage:
    """Folders, processes and the counters of the story."""

    folder: Path
    held: int = 0
    refusals: int = 0
    fingerprints: dict[str, str] = field(default_factory=dict)
    _nodes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _ports: dict[str, int] = field(default_factory=dict)

    # --- processes --------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Begin anew; the data that were fetched stay."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for part in self.folder.iterdir():
            if part.name != "data":
                shutil.rmtree(part) if part.is_dir() else part.unlink()

    def start(self, venue: Venue) -> None:
        """Start a node; its log lies beside its home."""
        log = (self.folder / f"{venue.name}.log").open("ab")
        command = [*program(), "start", "--home", venue.name]
        self._nodes[venue.name] = subprocess.Popen(
            command, cwd=self.folder, env=self._environment(), stdout=log, stderr=log, start_new_session=True
        )

    def wait_ready(self, venue: Venue) -> None:
        """Wait until a node says that it serves."""
        deadline = time.monotonic() + READY_S
        log = self.folder / f"{venue.name}.log"
        while b" ready on " not in log.read_bytes():
            ended = self._nodes[venue.name].poll()
            if ended is not None or time.monotonic() > deadline:
                raise StepFailedError(f"{venue.domain} did not start\n{tail(log)}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End every node."""
        for node in self._nodes.values():
            with contextlib.suppress(ProcessLookupError):
                node.terminate()
        for node in self._nodes.values():
            try:
                node.wait(timeout=15)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()

    def port(self, venue: Venue) -> int:
        """The port of a venue: the usual one, or a free one where that is taken."""
        if venue.name not in self._ports:
            self._ports[venue.name] = venue.port if is_free(venue.port) else free_port()
        return self._ports[venue.name]

    # --- commands ---------------------------------------------------------------------------------------------------

    def run(self, *words: str, home: str = "", profile: str = "", check: bool = True) -> Done:
        """Run a command as a person would type it.

        Raises:
            StepFailedError: It failed although ``check`` says that it must not.
        """
        who = ["--home", home] if home else (["--profile", f"profiles/{profile}"] if profile else [])
        done = subprocess.run(
            [*program(), *words, *who], cwd=self.folder, env=self._environment(), capture_output=True, text=True,
            timeout=COMMAND_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        found = Done(f"trustnode {' '.join([*words, *who])}", done.returncode, done.stdout, done.stderr)
        if check and found.status:
            raise StepFailedError(f"$ {found.command}\nexit {found.status}\n{found.text.strip()}\n{self._logs()}")
        return found

    def begin(self, *words: str, profile: str) -> subprocess.Popen[str]:
        """Start a command and go on."""
        return subprocess.Popen(
            [*program(), *words, "--profile", f"profiles/{profile}"], cwd=self.folder, env=self._environment(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def _environment(self) -> Mapping[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("TRUSTNODE_")}
        return {**kept, "NO_COLOR": "1", "COLUMNS": str(WIDTH), "PYTHONUTF8": "1"}

    def _logs(self) -> str:
        return "\n".join(tail(log) for log in sorted(self.folder.glob("*.log")))

    # --- what is shown ----------------------------------------------------------------------------------------------

    def expect(self, found: bool, what: str, done: Done | None = None) -> None:
        """Count a step that held.

        Raises:
            StepFailedError: It did not.
        """
        if not found:
            shown = f"$ {done.command}\nexit {done.status}\n{done.text.strip()}\n" if done else ""
            raise StepFailedError(f"expected: {what}\n{shown}{self._logs()}")
        self.held += 1

    def refused(self, done: Done, reason: str, status: int) -> str:
        """A command that must be refused with a reason and an exit status.

        Returns:
            The line to show.

        Raises:
            StepFailedError: It was not refused, or otherwise.
        """
        self.expect(done.status == status and reason in done.text, f"{reason}, exit {status}", done)
        self.refusals += 1
        line = next(line for line in done.text.splitlines() if reason in line)
        return line.strip()


def program() -> Sequence[str]:
    """The command, run by this very interpreter."""
    return (sys.executable, "-m", "trustnode.cli")


def say(line: str = "") -> None:
    """Print one line of the story, at most 80 columns wide; Chinese counts two."""
    sys.stdout.write(cut(line, WIDTH) + "\n")
    sys.stdout.flush()


def cut(line: str, width: int) -> str:
    """The line, cut so that it fits."""
    used, out = 0, ""
    for character in line:
        used += 2 if ord(character) > 0x2E80 else 1
        if used > width:
            return out[:-1] + "…"
        out += character
    return out


def tail(log: Path, lines: int = 10) -> str:
    """The last lines of a log."""
    if not log.exists():
        return ""
    return f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def lines_with(text: str, *words: str) -> Iterator[str]:
    """Lines that hold one of the words."""
    return (line.rstrip() for line in text.splitlines() if any(word in line for word in words))


def number(text: str, pattern: str) -> str:
    """The first group of a pattern in a text; empty where it is not there."""
    found = re.search(pattern, text)
    return found[1] if found else ""


def is_free(port: int) -> bool:
    """Whether nobody listens on a port."""
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) != 0


def free_port() -> int:
    """A port that nobody uses at this moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
