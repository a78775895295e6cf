"""Policies: the ODRL model, the readable terms, the compiler between them, decisions and explanations."""
