"""Verifiers that are not ours: a small Go program over x/mod and transparency-dev, built once and asked over JSON."""

import base64
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parent / "go"
BUILD_S = 600
CHECK_S = 100


class Refused(Exception):
    """The foreign verifier does not accept it."""


@dataclass(frozen=True)
class Foreign:
    """The built program."""

    program: Path

    def ask(self, check, question):
        """One check; bytes travel as base64, as Go's JSON has them."""
        done = subprocess.run(
            [self.program, check], input=json.dumps(question, default=encoded), capture_output=True, text=True,
            timeout=CHECK_S, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise Refused(done.stderr.strip())
        return json.loads(done.stdout)


def encoded(value):
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(value)


def build(folder):
    """Compile it; go fetches what go.sum names."""
    program = folder / "foreign"
    command = ["go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-o", str(program), "."]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=BUILD_S, check=False)
    assert done.returncode == 0, done.stderr
    return Foreign(program)
