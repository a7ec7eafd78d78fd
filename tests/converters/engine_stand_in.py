"""A small HTTP server that answers as SGLang's or vLLM's classifier does, from a function of the token ids."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextlib.contextmanager
def serving(
    engine: str, score: Callable[[Sequence[int]], float], port: int = 0, longest: int = 1 << 20
) -> Iterator[tuple[str, list[int]]]:
    """The address, and a list that grows by each request's number of rows.

    engine: sglang or vllm. port: 0 is any. longest: a batch with a longer row is refused whole.
    """
    seen: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/v1/models":
                entry = {"id": "reward", "object": "model", "created": time.time(), "max_model_len": 1024}
                return self.answer(200, {"object": "list", "data": [entry]})
            if self.path == "/get_model_info" and engine == "sglang":
                return self.answer(200, {"model_path": "runs/a", "weight_version": "default", "is_generation": False})
            self.answer(404, {"detail": "Not Found"})

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/classify":
                return self.answer(404, {"error": "no such path"})
            rows = asked.get("input_ids" if engine == "sglang" else "input")
            if rows is None:
                return self.answer(400, {"error": {"message": "field required"}})
            seen.append(len(rows))
            if (size := max(map(len, rows))) > longest:
                text = f"The input ({size} tokens) is longer than the model's context length ({longest} tokens)."
                return self.answer(400, {"error": {"message": text}})
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

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
