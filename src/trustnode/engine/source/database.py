"""A database spoken to through ADBC: statements in, Arrow out.

Decides: that a connection lives as long as one stream, which words of a driver's failure may be logged. Leaves to
others: what is asked (``postgres``, ``sqlite``). Only a worker gets here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, Final

import adbc_driver_manager as adbc
import pyarrow as pa

from trustnode.engine.source.arrow import Batches
from trustnode.engine.source.model import SourceFailed

_TELLING: Final = ("08", "28", "3D", "42", "53", "55", "57")
"""Classes of SQLSTATE whose message speaks of connection, role, table or limits and quotes no value."""


def driver_path(module: ModuleType) -> str:
    """Where a package of ADBC keeps its driver."""
    path: str = module._driver_path()  # noqa: SLF001 - its own connect() asks there too
    return path


class Database:
    """How to reach one database."""

    def __init__(self, driver: str, options: Mapping[str, str], secret: str = "") -> None:
        """Keep driver and options; ``secret`` never shows in a failure."""
        self._driver = driver
        self._options = dict(options)
        self._secret = secret

    @contextlib.contextmanager
    def connected(self) -> Iterator[adbc.AdbcConnection]:
        """A connection of its own.

        Raises:
            SourceFailed: It cannot be made, or what was asked of it failed.
        """
        try:
            with (
                adbc.AdbcDatabase(driver=self._driver, **self._options) as database,
                adbc.AdbcConnection(database) as connection,
            ):
                yield connection
        except adbc.Error as failure:
            raise self._failure(failure) from None
        except (pa.ArrowException, OSError) as failure:
            raise SourceFailed(self._without_secret(str(failure).partition("\n")[0])) from None

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """All rows of a small answer."""
        with self.connected() as connection, _executed(connection, sql, {}) as reader:
            found: list[dict[str, Any]] = reader.read_all().to_pylist()
            return found

    def stream(self, sql: str, **options: str) -> Batches:
        """Rows as they come; the connection ends with the iterator."""
        with self.connected() as connection, _executed(connection, sql, options) as reader:
            yield from reader

    def _failure(self, failure: adbc.Error) -> SourceFailed:
        state = (failure.sqlstate or "").strip("\0")
        kind = type(failure).__name__
        if state and state != "00000" and not state.startswith(_TELLING):
            return SourceFailed(f"{kind}: SQLSTATE {state}")
        first, _, _ = self._without_secret(str(failure)).partition("\n")
        return SourceFailed(f"{kind}: {first}")

    def _without_secret(self, text: str) -> str:
        return text.replace(self._secret, "***") if self._secret else text


@contextlib.contextmanager
def _executed(connection: adbc.AdbcConnection, sql: str, options: Mapping[str, str]) -> Iterator[pa.RecordBatchReader]:
    with adbc.AdbcStatement(connection) as statement:
        statement.set_options(**options)
        statement.set_sql_query(sql)
        handle, _ = statement.execute_query()
        with contextlib.closing(pa.RecordBatchReader._import_from_c(handle.address)) as reader:  # noqa: SLF001
            yield reader
