"""The command line: operator verbs over the local socket, client verbs over the SDK.

Decides: what people type and see (surface 2 to 4). Leaves to others: everything else. A command imports what it needs
when it runs, so that ``trustnode --help`` answers at once.
"""

from trustnode.cli.root import main

__all__ = ["main"]
