"""trustnode: the node that data exchanges run, and the client that reads from it."""
