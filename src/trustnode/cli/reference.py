"""What can be looked up without a node: reasons, words, the contract, completion, versions.

Decides: how the tables of the code are shown. Leaves to others: the tables.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple, get_args

import click

from trustnode.cli import output
from trustnode.cli.lazy import Command
from trustnode.errors import REASONS, error

# --- why


@click.command(cls=Command)
@click.argument("reason")
def why(reason: str) -> None:
    """Explain a reason code, such as OFFER_UNENFORCEABLE."""
    from trustnode.vocabulary import unknown

    row = REASONS.get(reason.upper())
    if row is None:
        raise unknown("reason", reason.upper(), REASONS)
    data = {**row._asdict(), "error": row.error.__name__}
    meaning = row.meaning_zh if output.lang() == "zh" else row.meaning
    names = ("类别", "退出码", "可重试", "下一步") if output.lang() == "zh" else ("class", "exit", "retry", "next")
    values = (
        f"{row.error.__name__}, gRPC {row.code}",
        str(row.exit_status),
        "yes" if row.retryable else "no",
        row.next_step,
    )
    output.show(data, f"{row.reason}  {meaning}", *output.pairs(zip(names, values, strict=True)))


# --- words


class Entry(NamedTuple):
    """One word as it is listed."""

    name: str
    code: str
    zh: str
    meaning: str


def word_kinds() -> Mapping[str, tuple[Entry, ...]]:
    """Every closed set, by the name that people type."""
    from trustnode import vocabulary
    from trustnode.core.catalog import Approval
    from trustnode.core.contract import GRADES
    from trustnode.core.policy import grammar, purposes, terms, words
    from trustnode.core.policy.masks import MASKS

    found = {
        _typed(kind): tuple(Entry(w.name, w.code, w.zh, w.meaning) for w in known)
        for kind, known in vocabulary.WORDS.items()
    }
    for name, table in (
        ("topic", vocabulary.TOPICS),
        ("scene", vocabulary.SCENES),
        ("industry", vocabulary.INDUSTRIES),
    ):
        found[name] = tuple(Entry(code, code, term.zh, term.en) for code, term in table.items())
    found["purpose"] = tuple(
        Entry(name, "", purpose.zh, f"below {', '.join(purpose.parents)}" if purpose.parents else "")
        for name, purpose in purposes.PURPOSES.items()
    )
    found["reason"] = tuple(Entry(row.reason, "", row.meaning_zh, row.meaning) for row in REASONS.values())
    found["assurance"] = tuple(Entry(name, "", zh, "") for name, zh in words.ASSURANCE.items())
    plain = {
        "approval": get_args(Approval),
        "grade": GRADES,
        "mask": tuple(MASKS),
        "onward": grammar.ONWARD,
        "derived": grammar.DERIVED,
        "term": terms.KEYS,
        "zone": tuple(grammar.ZONES),
    }
    for name, known_words in plain.items():
        found[name] = tuple(Entry(word, "", "", "") for word in known_words)
    return found


def _typed(kind: str) -> str:
    """``DataLevel`` -> ``data-level``."""
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in kind).lstrip("-")


_SHORT: Final = {
    "level": "data-level",
    "category": "data-category",
    "purposes": "purpose",
    "masks": "mask",
    "right": "right-type",
}


@click.command(cls=Command)
@click.argument("kind", required=False)
def words(kind: str | None) -> None:
    """List the closed words of a KIND, such as purpose; without KIND, the kinds."""
    from trustnode.vocabulary import unknown

    kinds = word_kinds()
    if kind is None:
        rows = [(name, str(len(known))) for name, known in sorted(kinds.items())]
        items = [{"kind": name, "words": len(kinds[name])} for name, _ in rows]
        output.show_list(items, output.table(("KIND", "WORDS"), rows))
        return
    name = kind.lower()
    name = name if name in kinds else _SHORT.get(name, name)
    if name not in kinds:
        raise unknown("kind", kind, [*kinds, *_SHORT])
    items = [entry._asdict() for entry in kinds[name]]
    output.show_list(items, _word_lines(kinds[name]))


def _word_lines(entries: tuple[Entry, ...]) -> list[str]:
    columns = {"WORD": "name", "CODE": "code", "中文": "zh", "MEANING": "meaning"}
    used = {
        title: field
        for title, field in columns.items()
        if any(getattr(entry, field) not in ("", entry.name if field == "code" else "") for entry in entries)
    }
    rows = [[str(getattr(entry, field)) for field in used.values()] for entry in entries]
    return output.table(list(used), rows, flexible=len(used) - 1)


# --- protos, completion, version


def protos_folder() -> Path:
    """Where the contract lies: inside the installed package, or in the checkout."""
    import trustnode

    package = Path(trustnode.__file__).parent
    installed = package / "protos"
    return installed if installed.is_dir() else package.parents[1] / "protos"


@click.command(cls=Command)
@click.option(
    "-o", "directory", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write."
)
def protos(directory: Path) -> None:
    """Write out the gRPC contract: buf curl --schema DIR."""
    source = protos_folder()
    names = sorted(str(path.relative_to(source)) for path in source.rglob("*") if path.suffix in (".proto", ".json"))
    if not names:
        raise error("NOT_FOUND", "this installation carries no protos", next_step="Install trustnode again.")
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, directory / name)
    output.show(
        {"directory": str(directory), "files": names}, f"wrote  {output.count(len(names), 'file')} to {directory}"
    )


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a SHELL; evaluate it in the start file of the shell."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise error("USAGE", f"no completion for {shell}")
    script = found(ctx.find_root().command, {}, "trustnode", "_TRUSTNODE_COMPLETE").source()
    output.show({"shell": shell, "script": script}, script)


@click.command(cls=Command)
def version() -> None:
    """Print the versions that matter when two sides do not understand each other."""
    packages = ("grpcio", "protobuf", "cryptography", "msgspec", "pyarrow", "duckdb", "sqlglot")
    data = {"version": _version("trustnode"), "python": platform.python_version(), "protocol": 1, "suite": "tn1"}
    installed = {name: found for name in packages if (found := _version(name))}
    lines = [("trustnode", str(data["version"])), ("protocol", "1, suite tn1"), ("python", str(data["python"]))]
    output.show({**data, "packages": installed}, *output.pairs([*lines, *installed.items()]))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
