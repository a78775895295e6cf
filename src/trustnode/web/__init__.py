"""HTTPS beside the port, where the operator wants it: what anybody may read, without a certificate.

Decides: nothing here. ``listener`` opens the socket and bounds connections, ``certificate`` is what it shows, ``site``
puts the pages together, ``admission`` bounds requests, ``refusal`` answers those that get nothing. Each thing that is
served has a module of its own: ``tiles`` (the log), ``witness`` (other logs). Leaves to others: what may be shown
(``app``). Imported only where ``web.listen`` is set; alone imports Starlette and uvicorn.
"""
