"""One request to one server: its JSON, or what went wrong and whose fault that is."""

from __future__ import annotations

import datetime
import email.utils
import enum
import json
from typing import TYPE_CHECKING, Any

from toolrm_jax.errors import ConfigError
from toolrm_jax.synth.wire import EXCERPT, excerpt

if TYPE_CHECKING:
    import aiohttp

_BUSY = (429, 503)
_ADDRESS = (401, 403, 404, 405)
_PASSING = (408, 409, 425)


class Blame(enum.Enum):
    """What a failed request says."""

    UNREACHABLE = "no connection was made: the request was never seen"
    BUSY = "the server asks to wait"
    FAILED = "it may be the request or the server: tried again, not for ever"
    REFUSED = "the server will never answer this request"
    ADDRESS = "the server does not know the path, the model or the key, or is not the one it must be"


class Trouble(Exception):
    """Why a request got no answer. wait_s: as the server asked, if it did."""

    def __init__(self, blame: Blame, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.blame, self.reason, self.wait_s = blame, reason, wait_s


async def post(session: aiohttp.ClientSession, url: str, body: bytes, timeout_s: float) -> Any:
    """The JSON that the server answers with. Raises Trouble, never anything else but CancelledError."""
    import aiohttp

    try:
        async with session.post(url, data=body, allow_redirects=False) as response:
            if response.status == 200:
                content = await response.read()
            else:
                start = await response.content.read(4 * EXCERPT)
                raise _refusal(response.status, response.headers.get("Retry-After"), start)
    except aiohttp.ClientConnectorCertificateError as error:
        why = " ".join(str(error.certificate_error).split())
        raise Trouble(Blame.ADDRESS, f"its certificate is not trusted ({why})") from None
    except aiohttp.ClientConnectorError as error:
        raise Trouble(Blame.UNREACHABLE, f"cannot connect ({error.os_error.strerror or 'no such host'})") from None
    except aiohttp.ConnectionTimeoutError:
        raise Trouble(Blame.UNREACHABLE, "cannot connect (no answer)") from None
    except TimeoutError:
        raise Trouble(Blame.FAILED, f"no answer within {timeout_s:g} s") from None
    except aiohttp.ClientPayloadError:
        raise Trouble(Blame.FAILED, "the answer was cut short") from None
    except aiohttp.InvalidURL:
        raise ConfigError(f"server {url}: no address; give http://HOST:PORT") from None
    except (aiohttp.ClientError, OSError) as error:
        raise Trouble(Blame.FAILED, f"connection lost ({type(error).__name__})") from None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        beginning = content[: 4 * EXCERPT].decode("utf-8", "replace")
        raise Trouble(Blame.FAILED, f"the answer is not JSON: {excerpt(beginning)}") from None


def new_session(timeout_s: float, key: str) -> aiohttp.ClientSession:
    """A session for many requests at once. The key goes into a header and nowhere else."""
    try:
        import aiohttp
    except ImportError:
        raise ConfigError("asking servers needs aiohttp; install the extra: pip install 'toolrm_jax[synth]'") from None
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(timeout_s, 10.0)),
        skip_auto_headers=("User-Agent",),
    )


def _refusal(status: int, retry_after: str | None, start: bytes) -> Trouble:
    said = excerpt(start.decode("utf-8", "replace"))
    reason = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    if status in _BUSY:
        return Trouble(Blame.BUSY, reason, seconds_of(retry_after))
    if status in _ADDRESS or 300 <= status < 400:
        return Trouble(Blame.ADDRESS, reason)
    if 400 <= status < 500 and status not in _PASSING:
        return Trouble(Blame.REFUSED, reason)
    return Trouble(Blame.FAILED, reason, seconds_of(retry_after))


def seconds_of(retry_after: str | None) -> float | None:
    """The seconds that a Retry-After header asks for: a number or a date; None where it says neither."""
    text = (retry_after or "").strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        until = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=datetime.UTC)
    return max(0.0, (until - datetime.datetime.now(datetime.UTC)).total_seconds())
