"""A small HTTP server that takes uploads as the Hugging Face hub does: create, tree, preupload, batch, put, commit."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclasses.dataclass
class Hub:
    """What it was given, and what the repository holds since its last commit.

    `refuse_puts_after`: so many large files are taken, the next is answered 400.
    """

    url: str = ""
    repos: dict[str, bool] = dataclasses.field(default_factory=dict)  # name -> private
    stored: dict[str, bytes] = dataclasses.field(default_factory=dict)  # sha256 -> content
    puts: int = 0
    commits: list[dict[str, bytes]] = dataclasses.field(default_factory=list)
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)  # of the repository now
    tokens: set[str] = dataclasses.field(default_factory=set)
    refuse_puts_after: int | None = None


@contextlib.contextmanager
def hub() -> Iterator[Hub]:
    """The server while the block runs."""
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def body(self):
            if self.headers.get("Transfer-Encoding") == "chunked":
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def do_GET(self):
            if self.path.partition("?")[0].endswith("/tree/main"):
                kept = [{"type": "file", "path": p, "size": len(b), "oid": "0" * 40} for p, b in state.files.items()]
                return self.answer(200, kept)
            return self.answer(404, {"error": self.path})

        def do_POST(self):
            content = self.body()
            state.tokens.add(self.headers.get("Authorization", ""))
            path = self.path.partition("?")[0]
            if path == "/api/repos/create":
                asked = json.loads(content)
                name = f"{asked['organization']}/{asked['name']}"
                state.repos.setdefault(name, bool(asked.get("private") or asked.get("visibility") == "private"))
                return self.answer(200, {"url": f"{state.url}/{name}", "id": name})
            if path == "/api/validate-yaml":  # the card's front matter
                return self.answer(200, {"errors": [], "warnings": []})
            if path.endswith("/preupload/main"):
                large = [(f["path"], f["path"].endswith(".safetensors")) for f in json.loads(content)["files"]]
                files = [
                    {"path": p, "uploadMode": "lfs" if one else "regular", "shouldIgnore": False, "oid": None}
                    for p, one in large
                ]
                return self.answer(200, {"files": files})
            if path.endswith("/info/lfs/objects/batch"):
                objects = []
                for one in json.loads(content)["objects"]:
                    there = one["oid"] in state.stored
                    upload = {"actions": {"upload": {"href": f"{state.url}/put/{one['oid']}"}}}
                    objects.append({"oid": one["oid"], "size": one["size"], **({} if there else upload)})
                return self.answer(200, {"transfer": "basic", "objects": objects})
            if path.endswith("/commit/main"):
                files = {}
                for line in content.splitlines():
                    entry = json.loads(line)
                    value = entry["value"]
                    if entry["key"] == "deletedFile":
                        del state.files[value["path"]]
                    if entry["key"] == "lfsFile":
                        files[value["path"]] = state.stored[value["oid"]]
                    elif entry["key"] == "file":
                        files[value["path"]] = base64.b64decode(value["content"])
                state.commits.append(files)
                state.files |= files
                address = f"{state.url}/owner/name/commit/{len(state.commits)}"
                done = {"success": True, "commitOid": "1" * 40, "commitUrl": address, "pullRequestUrl": None}
                return self.answer(200, done)
            return self.answer(404, {"error": self.path})

        def do_PUT(self):
            content = self.body()
            if state.refuse_puts_after is not None and state.puts >= state.refuse_puts_after:
                return self.answer(400, {"error": "broken off"})
            state.puts += 1
            state.stored[hashlib.sha256(content).hexdigest()] = content
            return self.answer(200, {})

        def answer(self, code, value):
            body = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
