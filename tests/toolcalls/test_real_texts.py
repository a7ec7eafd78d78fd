"""What real models wrote goes through every notation, whichever it was meant in: calls, words or a fault."""

from __future__ import annotations

import json
import time

import pytest

from toolrm_jax.toolcalls.formats import FORMATS

EVERY = 40
"""Lines of a file that are passed over for one that is looked at; all of them go through benchmarks/parsed_share.py."""


@pytest.fixture(scope="module")
def texts(data_folder):
    found = []
    for file in sorted((data_folder("bfcl_outputs") / "raw").rglob("*.json")):
        for line in file.read_text(encoding="utf-8").splitlines()[::EVERY]:
            result = json.loads(line).get("result")
            found.append(result if isinstance(result, str) else json.dumps(result, ensure_ascii=False))
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_no_real_text_raises_or_takes_long(texts, name):
    parse, longest, calls = FORMATS[name], 0.0, 0
    for text in texts:
        began = time.thread_time()
        parsed = parse(text)
        longest = max(longest, time.thread_time() - began)
        calls += bool(parsed.calls)
        assert parsed.fault is None or not parsed.calls
        json.dumps([call.to_json() for call in parsed.calls], allow_nan=False).encode()
    assert len(texts) > 2000
    assert longest < 0.2
    # Every notation but DeepSeek's, which no model of 2024's archive was read in, is the one of some model.
    assert calls > 0 or name in ("deepseek", "mistral")
