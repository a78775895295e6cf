"""Public test support: fake clock, certificates, several nodes in one process; the generator of checked-in files."""
