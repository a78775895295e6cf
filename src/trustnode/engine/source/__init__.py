"""Where a product's rows come from: what a source is, which columns it has, whether it has changed.

Decides: what is reached from outside under which name. Leaves to others: the closed set of kinds (``model``), types
and quoting (``words``), which files belong to a source (``files``), what the engine reads (``reading``), databases and
object stores (``foreign``, ``sqlite``, ``postgres``, ``objects``), which columns a consumer gets (``core.policy``), how
a session opens it (``engine.session``).

Engine, Arrow and drivers are imported where they are used: the node imports this package for its values.
"""

from trustnode.engine.source.files import data_version, engine_files, files, folders
from trustnode.engine.source.model import SUFFIXES, Kind, Secrets, Source, SourceFailed, Table, source_of
from trustnode.engine.source.reading import (
    DATABASE,
    Opened,
    Reader,
    Schemas,
    check_registered,
    describe,
    open_foreign,
    open_source,
    readable,
    served,
)
from trustnode.engine.source.words import ENGINE_TYPES, folded, quoted_name, quoted_text, sql_type, type_word

__all__ = [
    "DATABASE",
    "ENGINE_TYPES",
    "SUFFIXES",
    "Kind",
    "Opened",
    "Reader",
    "Schemas",
    "Secrets",
    "Source",
    "SourceFailed",
    "Table",
    "check_registered",
    "data_version",
    "describe",
    "engine_files",
    "files",
    "folded",
    "folders",
    "open_foreign",
    "open_source",
    "quoted_name",
    "quoted_text",
    "readable",
    "served",
    "source_of",
    "sql_type",
    "type_word",
]
