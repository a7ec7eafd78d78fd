"""A small OpenAI-compatible server, whose answers are a function of the prompt."""

import contextlib
import http.server
import json
import threading


@contextlib.contextmanager
def chat_server(answer, models=(), port=0):
    """An OpenAI-compatible server; `answer(prompt, count)` gives a text, or an HTTP status (with words and headers)."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body)
            found = answer(body["messages"][0]["content"], len(asked))
            status, text, *headers = found if isinstance(found, tuple) else (found, "no")
            if not isinstance(status, int):
                status, text = 200, json.dumps({"choices": [{"message": {"content": found}}]})
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def do_GET(self):
            self.send_response(200 if models else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"data": models}).encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
