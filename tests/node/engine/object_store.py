"""A small S3-compatible store on one port: objects in memory, every request signed (SigV4) and verified.

Serves what a reader asks for: ListObjectsV2, HeadObject, GetObject with ranges, HeadBucket.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

_AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/([^,]+), ?SignedHeaders=([^,]+), ?Signature=(\w+)")


class ObjectStore:
    """Keys, objects, and the requests that came; a context manager."""

    def __init__(self, access_key="AKTEST", secret_key="s3-Secret"):
        self.keys = {access_key: secret_key}
        self.access_key, self.secret_key = access_key, secret_key
        self.objects = {}
        self.requests = []
        self.before_get = lambda _: None
        handler = type("Handler", (_Handler,), {"store": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *failure):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def put(self, key, data):
        self.objects[key] = data


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # head and body in one packet: otherwise each answer waits for an acknowledgement
    store: ObjectStore

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def _answer(self, *, with_body):
        parts = urlsplit(self.path)
        self.store.requests.append((self.command, self.path))
        if not self._is_signed(parts):
            return self._refuse(403, "SignatureDoesNotMatch")
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        if not key:
            return self._list(bucket, dict(parse_qsl(parts.query, keep_blank_values=True)))
        self.store.before_get(f"{bucket}/{key}")
        data = self.store.objects.get(f"{bucket}/{key}")
        if data is None:
            return self._refuse(404, "NoSuchKey")
        return self._give(data, with_body=with_body)

    def _give(self, data, *, with_body):
        headers = {"ETag": f'"{hashlib.md5(data).hexdigest()}"', "Accept-Ranges": "bytes"}
        status, body = 200, data
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(match[1]), min(int(match[2] or len(data)), len(data) - 1)
            status, body = 206, data[first : last + 1]
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        self._send(status, body, headers, with_body=with_body)

    def _list(self, bucket, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        keys = sorted(k.partition("/")[2] for k in self.store.objects if k.startswith(f"{bucket}/{prefix}"))
        folders = sorted(
            {k[: k.index(delimiter, len(prefix)) + 1] for k in keys if delimiter and delimiter in k[len(prefix) :]}
        )
        files = [k for k in keys if not any(k.startswith(folder) for folder in folders)]
        rows = "".join(
            f"<Contents><Key>{escape(k)}</Key><Size>{len(self.store.objects[f'{bucket}/{k}'])}</Size>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for k in files
        )
        rows += "".join(f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in folders)
        text = f'<?xml version="1.0"?><ListBucketResult><Name>{bucket}</Name><KeyCount>{len(files)}</KeyCount>'
        text += f"<IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
        self._send(200, text.encode(), {"Content-Type": "application/xml"}, with_body=True)

    def _refuse(self, status, code):
        text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
        self._send(status, text.encode(), {"Content-Type": "application/xml"}, with_body=self.command != "HEAD")

    def _send(self, status, body, headers, *, with_body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _is_signed(self, parts):
        match = _AUTHORIZATION.fullmatch(self.headers.get("Authorization", ""))
        if match is None or match[1] not in self.store.keys:
            return False
        scope, names = match[2], match[3].split(";")
        query = "&".join(
            f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}"
            for k, v in sorted(parse_qsl(parts.query, keep_blank_values=True))
        )
        headers = "".join(f"{name}:{' '.join(self.headers.get(name, '').split())}\n" for name in names)
        request = "\n".join(
            [self.command, parts.path, query, headers, ";".join(names), self.headers["x-amz-content-sha256"]]
        )
        text = "\n".join(
            ["AWS4-HMAC-SHA256", self.headers["x-amz-date"], scope, hashlib.sha256(request.encode()).hexdigest()]
        )
        key = f"AWS4{self.store.keys[match[1]]}".encode()
        for part in [*scope.split("/"), text]:
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return hmac.compare_digest(key.hex(), match[4])
