"""SQL in, finished Flight frames out, under a policy.

Decides: which queries may run and what they see. Leaves to others: whether a caller may ask at all (``core.policy``),
what is recorded before the first byte (``app``), how frames travel (``rpc``). ``pool`` is the asyncio side and imports
no engine; everything that does runs in a worker process.
"""
