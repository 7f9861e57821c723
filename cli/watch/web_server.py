"""The web server of the live page: one page, for whoever has its address, and nothing else.

Guarantee: without the token in the address every request gets the same answer, whatever it asks for. Nothing
in a request changes anything, and nothing but the page is served. The address reaches no log, and no other
page, which could not read the answer either. A name that was made to lead here (DNS rebinding) is refused.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
import socketserver
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cli.watch.live_page import LivePage

MOST_AT_ONCE = 32  # connections
HEADERS = {
    # The page states its whole policy; this is what a page cannot state of itself.
    "Content-Security-Policy": "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class WebServer(ThreadingHTTPServer):
    """Serves a page at a token's address.

    Args:
        host: Name or address to serve it at.
        port: The port; 0 for any that is free.
        token: What the path of the address must be.
        page: The page.

    Raises:
        OSError: If it cannot be served there.
    """

    daemon_threads = True

    def __init__(self, host: str, port: int, token: str, page: LivePage) -> None:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self.address_family = family
        self.token, self.page = token, page
        self._names = {host.lower(), "localhost", socket.gethostname().lower()}
        self._free = threading.BoundedSemaphore(MOST_AT_ONCE)
        super().__init__((str(address[0]), int(address[1])), Handler)

    def server_bind(self) -> None:
        """As HTTPServer's, without its question to the name service."""
        socketserver.TCPServer.server_bind(self)

    @property
    def url(self) -> str:
        """The address of the page."""
        host, port = self.server_address[:2]
        found = ipaddress.ip_address(str(host))
        if found.is_unspecified:
            found = ipaddress.ip_address("127.0.0.1" if found.version == 4 else "::1")
        return f"http://{f'[{found}]' if found.version == 6 else found}:{port}/{self.token}/"

    def is_ours(self, hosts: list[str]) -> bool:
        """Whether a request's Host headers are one, of an address or a name of this machine.

        A page elsewhere can have a name of its own lead here; it cannot have an address, nor our names.
        """
        if len(hosts) != 1:
            return False
        name = hosts[0].rsplit(":", 1)[0] if not hosts[0].endswith("]") else hosts[0]
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return name.lower() in self._names
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection, or close it where there are too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread of its own."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a reader who went away."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: WebServer
    timeout = 10  # seconds for a request

    def do_GET(self) -> None:
        """Send the page, or that it is the same."""
        if not self.server.is_ours(self.headers.get_all("Host", [])):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        path = self.path.strip("/").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(path, self.server.token.encode()):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        answer = self.server.page.answer()
        known = {"Proof": self.server.page.proof, "ETag": answer.tag}
        if self.headers.get("If-None-Match") == answer.tag:
            self._send(HTTPStatus.NOT_MODIFIED, b"", **known)
        else:
            self._send(HTTPStatus.OK, answer.content, **known)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send a refusal in two words, and nothing of the request."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            code = HTTPStatus.METHOD_NOT_ALLOWED
        status = HTTPStatus(code)
        more = {"Allow": "GET"} if status is HTTPStatus.METHOD_NOT_ALLOWED else {}
        self._send(status, f"{status.phrase}\n".encode(), kind="text/plain", **more)

    def _send(self, status: HTTPStatus, content: bytes, kind: str = "text/html", **more: str) -> None:
        self.send_response_only(status)
        lengths = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(content))}
        for name, value in {**HEADERS, **lengths, **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: an address here is the key to the page."""
