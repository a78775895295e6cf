"""``python -m trustnode.cli``: the same as ``trustnode``."""

from trustnode.cli import main

main()
