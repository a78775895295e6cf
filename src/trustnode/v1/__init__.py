"""Stubs of ``protos/trustnode/v1``, written by ``make protos``; only ``rpc`` and ``wire`` import them."""
