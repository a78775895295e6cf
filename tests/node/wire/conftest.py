"""The server of the tests of ``rpc``: what the calling side does shows at a real other side."""

import importlib.util
from pathlib import Path

_SPEC = importlib.util.spec_from_file_location("rpc_world", Path(__file__).parents[1] / "rpc" / "conftest.py")
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)
world = _MODULE.world
