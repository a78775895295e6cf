"""The verifiers that are not ours, built once a session."""

import shutil

import pytest
from conformance import foreign as go


@pytest.fixture(scope="session")
def foreign(tmp_path_factory):
    if shutil.which("go") is None:
        pytest.skip("no go on PATH: what we emit is not compared with foreign verifiers")
    return go.build(tmp_path_factory.mktemp("go"))
