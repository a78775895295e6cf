"""The signed statement of how long an object's chain is (protocol 3.4): what makes an omission provable."""

from __future__ import annotations

from trustnode.core.document import Count, Digest, Required, Statement, Text


class ChainHead(Statement, tag="chain-head", kw_only=True, frozen=True):
    """At this tree size the chain of one object had exactly this length; a longer or other one is proof of a lie."""

    kind: Text
    object: Text
    seq: Count
    """Number of entries; 0: the log has none for this object."""
    link: Digest
    """E of the last entry; 32 zero bytes when there is none."""
    origin: Text
    tree_size: Count
    root: Digest

    def required(self) -> tuple[Required, ...]:
        """The venue whose log it is."""
        return (Required(self.iss, "evidence"),)
