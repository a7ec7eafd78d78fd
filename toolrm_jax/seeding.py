"""Random choices that depend on what is chosen for, never on worker, shard or order of arrival."""

import hashlib
import random


def seeded(seed: int, purpose: str, record: str = "", epoch: int = 0) -> random.Random:
    """A generator seeded by a hash of (seed, purpose, record id, epoch)."""
    key = f"{seed}\0{purpose}\0{record}\0{epoch}".encode("utf-8", "surrogatepass")
    return random.Random(int.from_bytes(hashlib.sha256(key).digest()[:8], "big"))
