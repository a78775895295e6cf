"""Where a product's rows come from: what a source is, which columns it has, whether it has changed.

Decides: what is reached from outside under which name. Leaves to others: the closed set of kinds (``model``), types
and quoting (``words``), which files belong to a source (``files``), what the engine reads (``reading``), which columns
a consumer gets (``core.policy``), how a session opens it (``engine.session``).

The engine is imported where it is used: the node and the command line import this package for its values.
"""

from trustnode.engine.source.files import data_version, files
from trustnode.engine.source.model import SUFFIXES, Kind, Source, Table, source_of
from trustnode.engine.source.reading import DATABASE, attach, describe, describe_reader, readable, readers
from trustnode.engine.source.words import ENGINE_TYPES, folded, quoted_name, quoted_text, sql_type, type_word

__all__ = [
    "DATABASE",
    "ENGINE_TYPES",
    "SUFFIXES",
    "Kind",
    "Source",
    "Table",
    "attach",
    "data_version",
    "describe",
    "describe_reader",
    "files",
    "folded",
    "quoted_name",
    "quoted_text",
    "readable",
    "readers",
    "source_of",
    "sql_type",
    "type_word",
]
