"""The page's own files: read once, from the package; nothing outside it can be named."""

from __future__ import annotations

import hashlib
from importlib import resources

from hotseat.gateway.site import Handler, Inquiry, Reply

TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, nothing inline, in nobody's frame."""
HEADERS = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    # The files change with the version; the tag saves the bytes where they have not.
    ("Cache-Control", "no-cache"),
)


class Files:
    def __init__(self) -> None:
        self._files: dict[str, tuple[str, str, bytes]] = {}
        """Path -> content type, tag, content."""
        self._read("", "static")
        self._files["/ui/"] = self._files["/ui/index.html"]

    def find(self, method: str, path: str) -> Handler | None:
        if method != "GET":
            return None
        if path == "/ui":
            return _to_the_page
        return self._file if path in self._files else None

    def _read(self, prefix: str, *folder: str) -> None:
        for entry in resources.files("hotseat.dashboard").joinpath(*folder).iterdir():
            if entry.is_dir():
                self._read(f"{prefix}{entry.name}/", *folder, entry.name)
            elif (kind := TYPES.get(entry.name.rpartition(".")[2])) is not None:
                content = entry.read_bytes()
                tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
                self._files[f"/ui/{prefix}{entry.name}"] = (kind, tag, content)

    async def _file(self, inquiry: Inquiry) -> Reply:
        kind, tag, content = self._files[inquiry.path]
        headers = [("Content-Type", kind), ("ETag", tag), *HEADERS]
        if tag in inquiry.headers.get("if-none-match", ""):
            return Reply(status=304, headers=headers)
        return Reply(headers=headers, body=content)


async def _to_the_page(inquiry: Inquiry) -> Reply:
    # Relative, so that it holds behind a proxy's own path too.
    return Reply(status=308, headers=[("Location", "ui/"), *HEADERS])
