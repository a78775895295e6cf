"""The settings of a node: which there are, what they mean, where each value came from.

Decides: every key with its meaning, unit, bounds and default, and which source wins: flag, environment, file, default.
Leaves to others: what a setting does. An unknown key is an error, because a misspelt limit would be no limit.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, get_type_hints

import msgspec

from trustnode.errors import error

FILE_NAME: Final = "trustnode.toml"
PREFIX: Final = "TRUSTNODE"
_HEADER: Final = re.compile(r"\s*\[\s*([A-Za-z0-9_]+)\s*\]")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")
_POSITION: Final = re.compile(r"line (\d+), column (\d+)")


def _seconds(meaning: str, least: int = 1, most: int = 10**9) -> msgspec.Meta:
    return msgspec.Meta(ge=least, le=most, description=meaning, extra={"unit": "seconds"})


def _number(meaning: str, unit: str = "", least: int = 1, most: int = 2**53 - 1) -> msgspec.Meta:
    return msgspec.Meta(ge=least, le=most, description=meaning, extra={"unit": unit})


def _words(meaning: str, pattern: str | None = None) -> msgspec.Meta:
    return msgspec.Meta(description=meaning, pattern=pattern, max_length=1024)


class Node(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who the node is and where it listens. What stands on the venue card changes with the next card."""

    trust_domain: Annotated[
        str, _words("Trust domain: the name of the venue in the network; never changes", r"^([a-z0-9._-]{1,255})?$")
    ] = ""
    name: Annotated[str, _words("Name of the venue for people")] = ""
    level: Annotated[
        str,
        _words(
            "Place in the network: NATIONAL, REGIONAL, INDUSTRY or SERVICE", r"^(NATIONAL|REGIONAL|INDUSTRY|SERVICE)$"
        ),
    ] = "REGIONAL"
    area: Annotated[
        str, _words("Administrative area, or 00 and the industry division", r"^([0-9]{4}([0-9]{2})?)?$")
    ] = ""
    subject: Annotated[str, _words("Unified social credit code of the operating entity", r"^([0-9A-Z]{18})?$")] = ""
    node_id: Annotated[str, _words("Identifier of the node, 32 characters", r"^([0-9A-Z*]{32})?$")] = ""
    listen: Annotated[str, _words("Address and port of the network port")] = "127.0.0.1:7443"
    endpoints: Annotated[
        tuple[str, ...],
        msgspec.Meta(
            description="Addresses that the card names, host:port; empty: the one it listens on", max_length=16
        ),
    ] = ()
    dns: Annotated[
        tuple[str, ...],
        msgspec.Meta(
            description="Further names or addresses in the node's certificate, for stock clients", max_length=16
        ),
    ] = ()
    drain_s: Annotated[int, _seconds("Time that running streams get when the node stops", 0, 3600)] = 30


class Store(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The database of states, documents and log."""

    path: Annotated[str, _words("Database file, relative to the home folder")] = "node.db"
    audit_hours: Annotated[
        int, _number("How often the node compares the whole store with its log, slowly; 0: never", "hours", 0, 8760)
    ] = 24
    answers_days: Annotated[
        int, _number("How long the answer to a repeated document is kept; longer than anybody repeats", "days", 7, 3650)
    ] = 90


class Web(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """HTTPS for everybody: the log as files, the witness. Needs the extra `web`; paths are relative to the home."""

    listen: Annotated[str, _words("Address and port for HTTPS; empty: off")] = ""
    certificate: Annotated[str, _words("Certificate chain in PEM; empty: the node's own")] = ""
    key: Annotated[str, _words("Its key in PEM; empty: the node's own")] = ""
    source_per_second: Annotated[int, _number("Rate of one source address; a post takes 10", "requests")] = 200
    source_burst: Annotated[int, _number("Requests that one source address may save up", "requests", 10)] = 2000


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one caller, and one connection, may use. Rates are token buckets; a call takes 1, 2 or 10 tokens."""

    max_request_bytes: Annotated[int, _number("Longest request message", "bytes", 1024)] = 4 * 1024 * 1024
    max_frame_bytes: Annotated[int, _number("Size at which data frames are cut", "bytes", 16384, 4 * 2**20)] = (
        1024 * 1024
    )
    max_call_s: Annotated[int, _seconds("Longest call without a stream")] = 120
    max_stream_s: Annotated[int, _seconds("Longest stream; a client resumes after it")] = 3600
    first_message_s: Annotated[int, _seconds("Time in which the request message must follow its headers")] = 10
    recheck_s: Annotated[int, _seconds("How often the caller of a running stream is identified again", 1, 60)] = 5
    identity_per_second: Annotated[int, _number("Rate of one identity", "tokens")] = 4000
    identity_burst: Annotated[int, _number("Tokens that one identity may save up", "tokens")] = 8000
    identity_calls: Annotated[int, _number("Calls of one identity at a time")] = 256
    identity_streams: Annotated[int, _number("Streams of one identity at a time")] = 64
    domain_per_second: Annotated[int, _number("Rate of all identities of one trust domain", "tokens")] = 8000
    domain_burst: Annotated[int, _number("Tokens that one trust domain may save up", "tokens")] = 16000
    domain_calls: Annotated[int, _number("Calls of one trust domain at a time")] = 1024
    domain_streams: Annotated[int, _number("Streams of one trust domain at a time")] = 256
    source_per_second: Annotated[int, _number("Rate of one source address, before it is identified", "calls")] = 10000
    source_burst: Annotated[int, _number("Calls that one source address may save up", "calls")] = 20000
    connections: Annotated[int, _number("Open connections; a guard for file descriptors", "", 16)] = 4096
    connection_streams: Annotated[int, _number("Calls on one connection at a time")] = 128
    connection_idle_s: Annotated[int, _seconds("A connection without calls is closed after")] = 300
    connection_age_s: Annotated[int, _seconds("A connection is replaced after; running streams go on")] = 600
    handshake_s: Annotated[int, _seconds("A connection that has not shown its certificate is closed after")] = 5
    keepalive_s: Annotated[int, _seconds("How often a silent connection with calls is asked whether it lives")] = 60


class Engine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The worker processes that run queries."""

    workers: Annotated[int, _number("Worker processes; each belongs to one agreement at a time", "", 1, 256)] = 2
    memory_mb: Annotated[int, _number("Memory of one worker", "MiB", 64)] = 512
    query_s: Annotated[
        int, _seconds("Longest time the engine works on one query; what a slow reader takes does not count")
    ] = 30
    threads: Annotated[int, _number("Threads of one worker", "", 1, 64)] = 2
    kept_mb: Annotated[
        int,
        _number("Memory for small answers that are given again while policy and data are the same; 0: none", "MiB", 0),
    ] = 64
    kept_disk_mb: Annotated[
        int,
        _number("Disk for whole tables as they are delivered, read again without the engine; 0: none", "MiB", 0),
    ] = 1024


class Peers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How old knowledge about another venue may be before its streams end."""

    max_age_s: Annotated[int, _seconds("No more frames when a peer has been silent for")] = 5
    abort_age_s: Annotated[int, _seconds("Streams of a peer are ended when it has been silent for")] = 10


class Mirror(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Copies of peers' logs, which they get back when they have lost their own."""

    quota_mb: Annotated[int, _number("Most that the copy of one venue's log may take", "MiB", 1)] = 4096


class Evidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the log may go without its witnesses."""

    max_unwitnessed_s: Annotated[
        int,
        _seconds(
            "New agreements say so: not cosigned by their witnesses this long after they had to be signed, they are "
            "suspended; nothing is agreed while our log has been without a quorum for longer",
            60,
        ),
    ] = 14400


class Privacy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who shares a privacy budget."""

    pools: Annotated[
        tuple[str, ...],
        msgspec.Meta(
            description="Askers that are taken for one, because they may compare answers: NAME: WHO WHO, subject "
            "codes or participants; * is everybody",
            max_length=256,
        ),
    ] = ()


class Disk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stays free for evidence."""

    reserve_mb: Annotated[int, _number("No data access when less than this is free", "MiB", 0)] = 256
    alarm_percent: Annotated[int, _number("Alarm when the disk is this full", "percent", 1, 100)] = 80


class Log(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the node writes to stderr."""

    level: Annotated[str, _words("Least severity: debug, info, warning or error", "^(debug|info|warning|error)$")] = (
        "info"
    )
    format: Annotated[str, _words("auto (JSON when stderr is no terminal), json or text", "^(auto|json|text)$")] = (
        "auto"
    )
    requests: Annotated[bool, msgspec.Meta(description="Whether every call writes its line")] = True


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of a node."""

    node: Node = Node()
    store: Store = Store()
    web: Web = Web()
    limits: Limits = Limits()
    engine: Engine = Engine()
    peers: Peers = Peers()
    evidence: Evidence = Evidence()
    mirror: Mirror = Mirror()
    privacy: Privacy = Privacy()
    disk: Disk = Disk()
    log: Log = Log()


class Setting(NamedTuple):
    """One key of the table."""

    key: str
    """``section.name``."""
    type: Any
    default: Any
    meaning: str
    unit: str

    @property
    def environment(self) -> str:
        """Name of the variable that sets it; with ``_FILE`` appended, of one that names a file holding it."""
        return f"{PREFIX}_{self.key.replace('.', '_').upper()}"


def _settings() -> Iterator[Setting]:
    for section in msgspec.structs.fields(Config):
        hints = get_type_hints(section.type, include_extras=True)
        for field in msgspec.structs.fields(section.type):
            meta = hints[field.name].__metadata__[0]
            unit = (meta.extra or {}).get("unit", "")
            key = f"{section.name}.{field.name}"
            yield Setting(key, hints[field.name], field.default, meta.description or "", unit)


SETTINGS: Final[Mapping[str, Setting]] = {setting.key: setting for setting in _settings()}
"""The table of keys, read from the Structs above."""


class Loaded(NamedTuple):
    """A configuration and where each of its values came from."""

    config: Config
    origins: Mapping[str, str]
    """``section.name`` -> ``flag``, ``environment NAME``, ``file line N`` or ``default``."""


def load(home: Path, environ: Mapping[str, str], flags: Mapping[str, Any] | None = None) -> Loaded:
    """Read the settings of the node in ``home``.

    Args:
        home: Folder with ``trustnode.toml``; a missing file means defaults.
        environ: Environment variables.
        flags: ``section.name`` -> value given on the command line; None values do not count.

    Raises:
        TrustnodeError: CONFIG_INVALID; ``field`` names the key, the message line and column.
    """
    values: dict[str, Any] = {}
    origins = dict.fromkeys(SETTINGS, "default")
    for key, value, origin in (*_from_file(home / FILE_NAME), *_from_environment(environ), *_from_flags(flags or {})):
        values[key] = _convert(key, value, origin)
        origins[key] = origin
    sections: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, name = key.split(".")
        sections.setdefault(section, {})[name] = value
    return Loaded(msgspec.convert(sections, Config), origins)


Given = Iterator[tuple[str, Any, str]]
"""(key, value, origin) of each value that a source gives."""


def _from_file(path: Path) -> Given:
    if not path.exists():
        return
    text = _read(path)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        at = _POSITION.search(str(problem))
        place = {"line": at[1], "column": at[2]} if at else {}
        raise error("CONFIG_INVALID", f"{path.name}: {problem}", field=path.name, **place) from None
    places = _places(text)
    for section, table in tables.items():
        known = [key.split(".")[0] for key in SETTINGS]
        if section not in known:
            raise _unknown(section, known, places.get((section, ""), (0, 0)), "section")
        if not isinstance(table, dict):
            raise _invalid(section, f"[{section}] is a table", _at(places, section, ""))
        for name, value in table.items():
            names = [key.split(".")[1] for key in SETTINGS if key.startswith(f"{section}.")]
            if name not in names:
                raise _unknown(
                    f"{section}.{name}", [f"{section}.{known}" for known in names], _at(places, section, name), "key"
                )
            yield f"{section}.{name}", value, f"file line {_at(places, section, name)[0]}"


def _from_environment(environ: Mapping[str, str]) -> Given:
    names = {setting.environment: setting.key for setting in SETTINGS.values()}
    for name, key in names.items():
        if name in environ:
            yield key, environ[name], f"environment {name}"
        elif f"{name}_FILE" in environ:
            yield key, _read(Path(environ[f"{name}_FILE"])).strip(), f"environment {name}_FILE"
    for name in environ:
        if name.startswith(_SECTION_PREFIXES) and name.removesuffix("_FILE") not in names:
            raise _unknown(name, list(names), (0, 0), "variable")


_SECTION_PREFIXES: Final = tuple(f"{PREFIX}_{field.name.upper()}_" for field in msgspec.structs.fields(Config))


def _from_flags(flags: Mapping[str, Any]) -> Given:
    for key, value in flags.items():
        if key not in SETTINGS:
            raise _unknown(key, list(SETTINGS), (0, 0), "key")
        if value is not None:
            yield key, value, "flag"


def _convert(key: str, value: Any, origin: str) -> Any:
    kind = SETTINGS[key].type
    text = origin.startswith("environment")
    if text and isinstance(SETTINGS[key].default, tuple):
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        return msgspec.convert(value, kind, strict=not text)
    except msgspec.ValidationError as problem:
        line = origin.removeprefix("file line ") if origin.startswith("file") else ""
        place = {"line": line} if line else {}
        raise error("CONFIG_INVALID", f"{key} ({origin}): {problem}", field=key, **place) from None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise error(
            "CONFIG_INVALID", f"{path.name} cannot be read: {type(problem).__name__}", field=path.name
        ) from None


def _places(text: str) -> dict[tuple[str, str], tuple[int, int]]:
    """(section, key) -> (line, column), counted from 1; key "" is the header itself."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            section = header[1]
            found.setdefault((section, ""), (number, header.start(1) + 1))
        elif key := _KEY.match(line):
            found.setdefault((section, key[1]), (number, key.start(1) + 1))
            found.setdefault((key[1], ""), (number, key.start(1) + 1))
    return found


def _at(places: Mapping[tuple[str, str], tuple[int, int]], section: str, name: str) -> tuple[int, int]:
    return places.get((section, name)) or places.get((section, ""), (0, 0))


def _unknown(name: str, known: list[str], place: tuple[int, int], what: str) -> Exception:
    nearest = difflib.get_close_matches(name, known, 1, 0.5)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return _invalid(name, f"unknown {what} {name}{hint}", place)


def _invalid(name: str, message: str, place: tuple[int, int]) -> Exception:
    line, column = place
    where = f" (line {line}, column {column})" if line else ""
    metadata = {"line": str(line), "column": str(column)} if line else {}
    return error("CONFIG_INVALID", message + where, field=name, **metadata)


# --- written forms --------------------------------------------------------------------------------------------------


def write_default(path: Path, values: Mapping[str, Any]) -> None:
    """Write a commented configuration file; what is not given stands in it as a comment with its default.

    Args:
        path: The file to create.
        values: ``section.name`` -> value.

    Raises:
        FileExistsError: The file is there already.
        TrustnodeError: CONFIG_INVALID.
    """
    for key, value in values.items():
        if key not in SETTINGS:
            raise _unknown(key, list(SETTINGS), (0, 0), "key")
        _convert(key, value, "flag")
    with path.open("x", encoding="utf-8") as file:
        file.write(render(values))


def render(values: Mapping[str, Any]) -> str:
    """The text of a configuration file."""
    lines = [
        "# Settings of this node. A line that is commented out shows the default.",
        "# A flag beats an environment variable (TRUSTNODE_SECTION_KEY), that beats this file.",
    ]
    for section in msgspec.structs.fields(Config):
        lines += ["", f"[{section.name}]"]
        for setting in SETTINGS.values():
            if setting.key.startswith(f"{section.name}."):
                given = setting.key in values
                value = _toml(values[setting.key] if given else setting.default)
                lines += [f"# {_sentence(setting)}", f"{'' if given else '# '}{setting.key.split('.')[1]} = {value}"]
    return "\n".join(lines) + "\n"


def reference() -> str:
    """The reference page of all settings, ``docs/config.md``."""
    head = (
        "# Settings\n\nWritten from the table in `src/trustnode/config.py`.\n"
        "A flag beats an environment variable, that beats `trustnode.toml`, that beats the default.\n"
        "Append `_FILE` to a variable to name a file that holds the value.\n"
    )
    parts = [head]
    for section in msgspec.structs.fields(Config):
        parts.append(f"\n## [{section.name}]\n\n{(section.type.__doc__ or '').strip()}\n")
        parts.append("\n| key | default | unit | meaning | variable |\n|---|---|---|---|---|\n")
        parts += [_row(setting) for setting in SETTINGS.values() if setting.key.startswith(f"{section.name}.")]
    return "".join(parts)


def _row(setting: Setting) -> str:
    name = setting.key.split(".")[1]
    cells = (f"`{name}`", f"`{_toml(setting.default)}`", setting.unit, setting.meaning, f"`{setting.environment}`")
    return "| " + " | ".join(cells) + " |\n"


def _sentence(setting: Setting) -> str:
    return setting.meaning + (f" ({setting.unit})" if setting.unit else "")


def _toml(value: Any) -> str:
    """A value as TOML writes it; JSON writes strings, numbers, booleans and lists the same."""
    return msgspec.json.encode(value).decode()
