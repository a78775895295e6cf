"""The wire contract as data: what protoc reads from ``protos``, comments included."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

CHECKOUT = Path(__file__).parents[2]
PROTOS = CHECKOUT / "protos"


class Element(NamedTuple):
    """One element of a file with its comment."""

    kind: str
    name: str
    comment: str


@cache
def files() -> tuple[FileDescriptorProto, ...]:
    """Descriptors of ``protos/trustnode/v1``."""
    sources = sorted(str(path) for path in (PROTOS / "trustnode/v1").glob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set.binpb"
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", "--include_source_info"]
        subprocess.run([*command, f"--descriptor_set_out={out}", *sources], check=True)
        return tuple(FileDescriptorSet.FromString(out.read_bytes()).file)


def _comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    return {tuple(location.path): location.leading_comments.strip() for location in file.source_code_info.location}


def elements() -> Iterator[Element]:
    """Every service, RPC, message, oneof, field, enum and enum value."""
    for file in files():
        comments = _comments(file)
        for i, service in enumerate(file.service):
            yield Element("service", service.name, comments.get((6, i), ""))
            for j, method in enumerate(service.method):
                yield Element("rpc", f"{service.name}.{method.name}", comments.get((6, i, 2, j), ""))
        for i, message in enumerate(file.message_type):
            yield Element("message", message.name, comments.get((4, i), ""))
            for j, field in enumerate(message.field):
                in_oneof = field.HasField("oneof_index") and not field.proto3_optional
                kind = "choice" if in_oneof else "field"
                yield Element(kind, f"{message.name}.{field.name}", comments.get((4, i, 2, j), ""))
            for j, oneof in enumerate(message.oneof_decl):
                if not oneof.name.startswith("_"):
                    yield Element("oneof", f"{message.name}.{oneof.name}", comments.get((4, i, 8, j), ""))
        for i, enum in enumerate(file.enum_type):
            yield Element("enum", enum.name, comments.get((5, i), ""))
            for j, value in enumerate(enum.value):
                yield Element("value", value.name, comments.get((5, i, 2, j), ""))


def methods() -> dict[str, set[str]]:
    """Service -> names of its RPCs."""
    return {service.name: {method.name for method in service.method} for file in files() for service in file.service}
