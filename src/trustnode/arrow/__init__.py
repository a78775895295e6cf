"""Stubs of ``protos/arrow``, written by ``make protos``; only ``rpc`` and ``wire`` import them."""
