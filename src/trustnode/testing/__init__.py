"""Public test support: fake clock, certificate factory, several nodes in one process; and the generator of checked-in files."""
