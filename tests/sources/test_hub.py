"""A data set on the hub, by the hub's own client, from a small server that answers as the hub does."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from urllib.parse import unquote, urlsplit

import pytest

from tests.sources.test_registry import xlam_row
from toolrm_jax.preferences.card import read_card
from toolrm_jax.preferences.shards import read_groups

NAME, COMMIT = "Salesforce/xlam-function-calling-60k", "1" * 40


@pytest.fixture
def hub():
    """(url, files): a server of one data set; `files` by name, to be filled."""
    files = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            path = unquote(urlsplit(self.path).path)
            if path.startswith(f"/api/datasets/{NAME}/revision/"):
                told = {"id": NAME, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
                return self.answer(200, json.dumps(told).encode(), "application/json")
            if path.startswith(f"/api/datasets/{NAME}/tree/"):
                told = [
                    {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for name, content in files.items()
                ]
                return self.answer(200, json.dumps(told).encode(), "application/json")
            start = f"/datasets/{NAME}/resolve/{COMMIT}/"
            if path.startswith(start) and (content := files.get(path.removeprefix(start))) is not None:
                return self.answer(200, content, "application/octet-stream")
            return self.answer(404, b"{}", "application/json", {"X-Error-Code": "RepoNotFound"})

        def answer(self, code, body, kind, more=None):
            self.send_response(code)
            headers = {"Content-Type": kind, "Content-Length": str(len(body)), "X-Repo-Commit": COMMIT}
            for name, value in (headers | {"ETag": f'"{hashlib.sha1(body).hexdigest()}"'} | (more or {})).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", files
    server.shutdown()
    server.server_close()


def prepare(url, tmp_path, *words):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
    few = ["data.benchmarks=", "pairs=20", "held_out=0", f"output={tmp_path / 'out'}"]
    command = [sys.executable, "-m", "toolrm_jax", "prepare", "config=data/balanced", *few, *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_pairs_are_made_from_a_hub_id_and_its_content_is_among_the_inputs(hub, tmp_path):
    url, files = hub
    files["xlam_function_calling_60k.json"] = json.dumps([xlam_row(number) for number in range(4)]).encode()
    files["README.md"] = b"not data"
    done = prepare(url, tmp_path, f"data.sources=xlam=hf://datasets/{NAME}")
    assert done.returncode == 0, done.stderr
    assert {group.task.id for group in read_groups(tmp_path / "out" / "groups")} == {f"xlam/{i}" for i in range(4)}
    before = read_card(tmp_path / "out" / "groups").inputs
    assert list(before) == ["xlam"]
    files["xlam_function_calling_60k.json"] = json.dumps([xlam_row(number) for number in range(5)]).encode()
    again = prepare(url, tmp_path / "again", f"data.sources=xlam=hf://datasets/{NAME}")
    assert again.returncode == 0, again.stderr
    assert read_card(tmp_path / "again" / "out" / "groups").inputs != before


def test_a_hub_id_that_does_not_exist_is_one_line(hub, tmp_path):
    url, _ = hub
    done = prepare(url, tmp_path, "data.sources=xlam=hf://datasets/no/such")
    assert done.returncode == 2
    assert done.stderr.startswith("toolrm: hf://datasets/no/such: the hub does not give it")
    assert done.stderr.count("\n") == 1
