"""gRPC from the answering side: who calls, may they, and what they hear when the answer is no.

Every call goes the same way: ``admission`` (source address) -> ``authentication`` (the certificate, on every call) ->
``methods`` (the closed table: may this kind of caller call this) -> ``admission`` (rates and streams of the caller) ->
the request message -> the handler -> ``boundary`` (one status, one ErrorInfo). ``dispatch`` is that way; ``server``
listens. A handler sees a verified caller and a parsed message, and raises; it never touches a gRPC status.
"""
