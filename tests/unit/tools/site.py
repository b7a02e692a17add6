"""A web server on loopback whose pages a test declares."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Page:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "text/html"})
    chunks: Callable[[], Iterator[bytes]] | None = None


@dataclass
class Site:
    """`pages` by path without query, or a function of what was seen; `seen` holds every request."""

    port: int = 0
    pages: dict[str, Page | Callable[[Seen], Page]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen = Seen(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            site.seen.append(seen)
            found = site.pages.get(self.path.partition("?")[0], Page(b"nothing here", 404))
            page = found(seen) if callable(found) else found
            self.send_response(page.status)
            for name, value in page.headers.items():
                self.send_header(name, value)
            if page.chunks is None:
                self.send_header("Content-Length", str(len(page.body)))
            self.end_headers()
            try:
                for chunk in page.chunks() if page.chunks else [page.body]:
                    self.wfile.write(chunk)
            except OSError:
                pass  # the client has had enough

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    site.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
