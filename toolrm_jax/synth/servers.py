"""One server as a client sees it: how much it may have at once, and whether it is to be left alone for a while."""

from __future__ import annotations

import collections
import dataclasses
import math
import random
from collections.abc import Sequence

from toolrm_jax.errors import ConfigError

ALIKE_AT_FIRST = 8
"""Requests for several samples that may come back with one text each before samples are asked for one by one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take, in seconds, and how often they are tried.

    timeout_s: from sending a request to its last byte. attempts: of one request, those that the server never saw or
    asked to put off not counted. first_s, longest_s: the wait after the first failure, doubled after each further one
    up to the longest; a random part of up to a half is taken off, so that clients part. aside_after: failures in a row
    after which a server is left alone, then asked with a single request. silence_s: without any answer from any server
    of a model, after which the run ends. grace_s: for requests under way when the run is told to stop.
    """

    timeout_s: float = 600.0
    attempts: int = 6
    first_s: float = 0.5
    longest_s: float = 60.0
    aside_after: int = 3
    silence_s: float = 1800.0
    grace_s: float = 10.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value < 0 or (value == 0 and field.name != "grace_s"):
                raise ConfigError(f"{field.name}={value}: give more than 0")

    def wait_s(self, failures: int, rng: random.Random) -> float:
        """Seconds to wait after so many failures in a row."""
        longest = min(self.longest_s, self.first_s * 2.0 ** min(max(failures - 1, 0), 60))
        return longest * rng.uniform(0.5, 1.0)


class Server:
    """A server's state. `own` holds pieces of contexts that it has begun, so that it can use their prefix again.

    Times are those of the event loop's clock.
    """

    def __init__(self, url: str, at_once: int) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"server {url!r}: no address; give http://HOST:PORT")
        if at_once < 1:
            raise ConfigError(f"at_once={at_once}: give at least 1")
        self.url = url.rstrip("/").removesuffix("/v1")
        self.at_once = at_once
        self.own: collections.deque = collections.deque()
        self.under_way = 0  # HTTP requests
        self.one_by_one = False  # it gave fewer answers than asked, or all alike
        self.alike: int | None = 0  # requests for several samples that were all alike; None: some were not
        self.answered = False
        self.failed = 0  # requests given up after it failed them
        self.failures = 0  # one after the other since its last answer
        self.failed_at = -math.inf  # when the last one of these came
        self.aside = False
        self.free_at = 0.0
        self.said = ""  # why it last failed

    def may_take(self, now: float) -> bool:
        """Whether it may be given a request: not while it rests, and one at a time while it is on trial."""
        return now >= self.free_at and not (self.aside and self.under_way)

    def has_answered(self) -> None:
        """Take it back among the sound ones."""
        self.answered, self.failures, self.aside, self.said = True, 0, False, ""

    def has_failed(self, began: float, now: float) -> None:
        """Count a failure of a request that was sent at `began`; those under way together are one."""
        if began >= self.failed_at:
            self.failures, self.failed_at = self.failures + 1, now

    def has_drawn(self, texts: Sequence[str]) -> None:
        """Look at the samples of one request: a server may draw all of them with one seed, and write one text.

        A sure model may, too, so it takes some requests to tell; then each sample is asked for with a seed of its own.
        """
        if len(texts) > 1 and self.alike is not None:
            self.alike = self.alike + 1 if len(set(texts)) == 1 else None
            self.one_by_one = self.one_by_one or self.alike == ALIKE_AT_FIRST

    def rest(self, now: float, seconds: float, reason: str) -> None:
        """Give it nothing for so long."""
        self.free_at = max(self.free_at, now + seconds)
        self.said = reason
