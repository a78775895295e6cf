"""The client: profiles, the connection to the home node, negotiating, reading, publishing, bundles.

Decides: nothing; ``trustnode`` and ``trustnode.aio`` say what is public. Leaves to others: the wire (``wire``), the
rules (``core``).
"""
