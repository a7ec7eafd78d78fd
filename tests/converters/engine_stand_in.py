"""A small HTTP server that answers as SGLang's or vLLM's classifier does, from a function of the token ids."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextlib.contextmanager
def serving(engine: str, score: Callable[[Sequence[int]], float]) -> Iterator[tuple[str, list[int]]]:
    """The address, and a list that grows by each request's number of rows. `engine`: sglang or vllm."""
    seen: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(200, {"object": "list", "data": [{"id": "reward", "object": "model"}]})

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/classify":
                return self.answer(404, {"error": "no such path"})
            rows = asked.get("input_ids" if engine == "sglang" else "input")
            if rows is None:
                return self.answer(400, {"error": {"message": "field required"}})
            seen.append(len(rows))
            scores = [score(row) for row in rows]
            if engine == "sglang":
                return self.answer(200, [{"embedding": [s], "meta_info": {"prompt_tokens": 1}} for s in scores])
            if asked["model"] != "reward":
                return self.answer(404, {"error": {"message": "the model does not exist"}})
            data = [{"index": i, "label": "reward", "probs": [s], "num_classes": 1} for i, s in enumerate(scores)]
            return self.answer(200, {"object": "list", "model": "reward", "data": data[::-1]})

        def answer(self, code, value):
            body = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
