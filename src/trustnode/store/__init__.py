"""One database: states, documents, the evidence log, outbox, feeds, timers, search (DESIGN 3.3).

unit      what one durable step may do: Tx            view   what it and a query see
unlogged  what a unit changed and no entry carries yet
writer    the store as the node holds it: write, read, commit report
batch     the writer thread: savepoints, group commit, reopening
log       the right edge of the evidence log, and reading it
rows      a state Struct as a row of its table
schema    migrations      search   text index      head   the record beside the store      check   fsck, backup
"""
