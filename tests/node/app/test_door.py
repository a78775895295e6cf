"""Which documents the door takes in."""

from trustnode import node as _all_nouns  # noqa: F401 (each noun names its documents when it is imported)
from trustnode.app.submission import HANDLERS, NOT_SUBMITTED
from trustnode.core import documents as _all_types  # noqa: F401 (closes the table of document types)
from trustnode.core.document import PAYLOADS


def test_each_document_type_is_taken_in_or_travels_with_another():
    taken_in = {kind.__struct_config__.tag for kind in HANDLERS}

    assert not taken_in & NOT_SUBMITTED
    assert taken_in | NOT_SUBMITTED == set(PAYLOADS)
