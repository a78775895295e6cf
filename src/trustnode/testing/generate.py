"""Everything in the tree that a program writes: stubs, the reason registry, document schemas, the error catalogue.

Decides: what is generated from what, and whether the checked-in files are what they would be. Leaves to others: the
sources (``protos``, ``errors``, ``core``). Needs a checkout and the developer's environment.

    python -m trustnode.testing.generate [--check] [protos] [schemas] [docs]

Sources become files like this:

    errors.ROWS                -> protos/trustnode/v1/error.proto   numbers already given stay
    protos/trustnode/v1        -> src/trustnode/v1                  file name in the pool: trustnode/v1/x.proto
    protos/arrow               -> src/trustnode/arrow               file name in the pool: trustnode/arrow/x.proto
    core.document.PAYLOADS     -> protos/trustnode/v1/documents     one JSON Schema a document type
    errors.ROWS                -> docs/errors.md
    cli.exit_status            -> docs/exit-status.md
    config.SETTINGS            -> docs/config.md
    core.policy.dictionary     -> docs/policy.md
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from trustnode import config
from trustnode.cli import exit_status
from trustnode.errors import ROWS, Row

CHECKOUT: Final = Path(__file__).resolve().parents[3]
ERROR_PROTO: Final = Path("protos/trustnode/v1/error.proto")
SCHEMAS: Final = Path("protos/trustnode/v1/documents")
ERROR_PAGE: Final = Path("docs/errors.md")
EXIT_PAGE: Final = Path("docs/exit-status.md")
SETTINGS_PAGE: Final = Path("docs/config.md")
POLICY_PAGE: Final = Path("docs/policy.md")

Files = dict[Path, str]
"""Path in the checkout -> text."""

_NUMBERED: Final = re.compile(r"^  REASON_(\w+) = (\d+);", re.MULTILINE)
_RESERVED: Final = re.compile(r'^  reserved (\d+);\n  reserved "REASON_(\w+)";', re.MULTILINE)

_ERROR_HEAD: Final = """\
// Why a node says no. Written by `make protos` from the table in src/trustnode/errors.py; numbers given once stay.

syntax = "proto3";

package trustnode.v1;

// Names every reason. Without its prefix a value is the `reason` of the one `google.rpc.ErrorInfo` that each answer
// other than OK carries, with domain `trustnode`. Metadata holds what changes: field, object, limit, `next_step`,
// `retry_after_s`.
enum Reason {
  // Never sent. Receivers treat an unknown reason as a refusal.
  REASON_UNSPECIFIED = 0;
"""


def reason_numbers(text: str) -> dict[str, int]:
    """Read the numbers that an error.proto gives to its reasons, those of removed ones included."""
    reserved = {name: int(number) for number, name in _RESERVED.findall(text)}
    return reserved | {name: int(number) for name, number in _NUMBERED.findall(text) if name != "UNSPECIFIED"}


def error_proto(rows: Iterable[Row], present: str) -> str:
    """Write error.proto: one value a row; ``present`` is the file as it stands, whose numbers are kept."""
    rows = tuple(rows)
    numbers = reason_numbers(present)
    for row in rows:
        numbers.setdefault(row.reason, max(numbers.values(), default=0) + 1)
    by_reason = {row.reason: row for row in rows}
    ordered = sorted(numbers.items(), key=lambda item: item[1])
    reserved = [
        f'  reserved {number};\n  reserved "REASON_{name}";\n' for name, number in ordered if name not in by_reason
    ]
    values = [_value(by_reason[name], number) for name, number in ordered if name in by_reason]
    return "".join([_ERROR_HEAD, *reserved, *values, "}\n"])


def _value(row: Row, number: int) -> str:
    again = " Repeating may help." if row.retryable else ""
    text = f"{row.meaning[0].upper()}{row.meaning[1:]}"
    return f"  // {text}. {row.code}.{again}\n  REASON_{row.reason} = {number};\n"


def error_page(rows: Iterable[Row]) -> str:
    """Write the error catalogue."""
    head = (
        "# Error catalogue\n\n"
        "Written by `make docs` from the table in `src/trustnode/errors.py`.\n"
        "A reason is one word on the wire (`google.rpc.ErrorInfo`, domain `trustnode`), in `--json`, in Python.\n\n"
        "| reason | meaning | 中文 | class | gRPC code | exit | repeat | next step |\n"
        "|---|---|---|---|---|---|---|---|\n"
    )
    return head + "".join(_row(row) for row in rows)


def _row(row: Row) -> str:
    cells = (
        f"`{row.reason}`",
        row.meaning,
        row.meaning_zh,
        row.error.__name__,
        row.code,
        str(row.exit_status),
        "yes" if row.retryable else "no",
        row.next_step.replace("|", "\\|"),
    )
    return "| " + " | ".join(cells) + " |\n"


def proto_files() -> Files:
    """Generate error.proto and, with it in place, all stubs."""
    text = error_proto(ROWS, _present(ERROR_PROTO))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(CHECKOUT / "protos", root / "protos")
        (root / ERROR_PROTO).write_text(text, encoding="utf-8")
        return {ERROR_PROTO: text, **_stubs(root)}


def _stubs(root: Path) -> Files:
    out = root / "src"
    out.mkdir()
    # Mapping protos/arrow to trustnode/arrow makes Arrow's stubs importable inside our package, names unchanged.
    include = [f"-Itrustnode/arrow={root / 'protos/arrow'}", f"-I{root / 'protos'}"]
    sources = sorted(
        str(path) for part in ("trustnode/v1", "arrow") for path in (root / "protos" / part).glob("*.proto")
    )
    command = [sys.executable, "-m", "grpc_tools.protoc", *include, f"--python_out={out}", f"--pyi_out={out}", *sources]
    subprocess.run(command, check=True)
    return {Path("src") / path.relative_to(out): path.read_text("utf-8") for path in sorted(out.rglob("*_pb2.py*"))}


def schema_files() -> Files:
    """Write one JSON Schema for every document type."""
    return {SCHEMAS / f"{name}.schema.json": schema(name, struct) for name, struct in sorted(_payloads().items())}


def schema(name: str, struct: type[Any]) -> str:
    """Write the JSON Schema (2020-12) of one document type."""
    import msgspec

    (root,), components = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    body = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:trustnode:document:{name}:v1",
        "title": name,
        **root,
        "$defs": dict(sorted(components.items())),
    }
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def _payloads() -> Mapping[str, type[Any]]:
    import trustnode.core.documents  # noqa: F401 (importing it fills the registry)
    from trustnode.core.document import PAYLOADS

    return PAYLOADS


def doc_files() -> Files:
    """Write the pages of ``docs`` that are generated."""
    from trustnode.core.policy import dictionary

    return {
        ERROR_PAGE: error_page(ROWS),
        EXIT_PAGE: exit_status.page(),
        SETTINGS_PAGE: config.reference(),
        POLICY_PAGE: dictionary.page(),
    }


class Part:
    """One group of generated files."""

    def __init__(self, generate: Callable[[], Files], *patterns: str) -> None:
        self.generate = generate
        self.patterns = patterns
        """Files that belong to the part; one that is there and not generated is stale."""

    def stale(self, files: Files) -> Iterator[Path]:
        """Find files of the part that nothing generates any more."""
        for pattern in self.patterns:
            yield from (path for p in CHECKOUT.glob(pattern) if (path := p.relative_to(CHECKOUT)) not in files)


PARTS: Final[Mapping[str, Part]] = {
    "protos": Part(proto_files, "src/trustnode/v1/*_pb2.py*", "src/trustnode/arrow/*_pb2.py*"),
    "schemas": Part(schema_files, "protos/trustnode/v1/documents/*.json"),
    "docs": Part(doc_files),
}


def drift(part: Part) -> list[str]:
    """Say which files of a part differ from what would be generated."""
    files = part.generate()
    changed = [f"differs: {path}" for path, text in files.items() if _present(path) != text]
    return [*changed, *(f"stale: {path}" for path in part.stale(files))]


def write(part: Part) -> None:
    """Generate a part in place."""
    files = part.generate()
    for path in part.stale(files):
        (CHECKOUT / path).unlink()
    for path, text in files.items():
        if _present(path) != text:
            (CHECKOUT / path).parent.mkdir(parents=True, exist_ok=True)
            (CHECKOUT / path).write_text(text, encoding="utf-8")
            print(f"wrote {path}")


def _present(path: Path) -> str:
    file = CHECKOUT / path
    return file.read_text(encoding="utf-8") if file.exists() else ""


def main(arguments: list[str] | None = None) -> int:
    """Generate the named parts, or with ``--check`` only compare; returns an exit status."""
    parser = argparse.ArgumentParser(prog="trustnode.testing.generate", description="Write or check generated files.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a file would change")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"default all: {', '.join(PARTS)}")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    chosen = [PARTS[name] for name in options.parts or PARTS]
    if not options.check:
        for part in chosen:
            write(part)
        return 0
    found = [line for part in chosen for line in drift(part)]
    print("\n".join([*found, "run: make protos docs"]) if found else "generated files are as they would be generated")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
