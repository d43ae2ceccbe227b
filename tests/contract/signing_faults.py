"""Something on a loopback port that breaks as it is told, where a certificate authority or a log should be."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from imagepipe.signing.trust import SigstoreTrust


class Faulty:
    """Answers every request with `status` and `body`, after `delay_s` seconds or once it is `over`.

    Where it drips, its head comes byte by byte, until it is `over`.
    """

    def __init__(self) -> None:
        self.over = threading.Event()
        self.status = 500
        self.body = b"{}"
        self.delay_s = 0.0
        self.drips = False
        self.url = ""
        self.headers: dict[str, str] = {}

    def answers(self, status: int, body: object) -> None:
        self.status, self.body = status, body if isinstance(body, bytes) else json.dumps(body).encode()


@contextmanager
def broken() -> Iterator[Faulty]:
    """Serves a `Faulty` in a thread of this process."""
    faulty = Faulty()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            faulty.headers = dict(self.headers)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            faulty.over.wait(faulty.delay_s)
            with suppress(ConnectionError):  # who waits too short is what some tests are about
                while faulty.drips and not faulty.over.wait(0.05):
                    self.wfile.write(b"a")
                self.send_response(faulty.status)
                self.send_header("Content-Length", str(len(faulty.body)))
                self.end_headers()
                self.wfile.write(faulty.body)

        do_GET = do_POST = _answer  # noqa: N815 -- names that http.server looks for

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base class names it so
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False  # closing it waits for them: they would go on in the next test
    faulty.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield faulty
    finally:
        faulty.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def trust_with(state_dir: Path, folder: Path, **services: str) -> SigstoreTrust:
    """Returns the trust of a running Sigstore, with other addresses (`caUrls`, `rekorTlogUrls`)."""
    document = json.loads((state_dir / "trust_config.json").read_text())
    for service, url in services.items():
        document["signingConfig"][service][0]["url"] = url
    path = folder / "trust.json"
    path.write_text(json.dumps(document))
    return SigstoreTrust.load(path)
