"""Memory that a step gave back is there for the next one."""

import ctypes
import subprocess
import sys

import pytest

PROBE = """
import ctypes, resource, sys
from toolrm_jax.parallel.host_memory import give_back_freed_memory, keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
def faults_of_a_step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    piece = libc.malloc(256 * 2**20)
    libc.memset(piece, 1, 256 * 2**20)
    libc.free(piece)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
if sys.argv[1] != "as usual":
    keep_freed_memory()
faults_of_a_step()
if sys.argv[1] == "given back":
    give_back_freed_memory()
print(faults_of_a_step())
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROBE, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="only glibc gives it back")
def test_pages_are_touched_for_the_first_time_once():
    assert faults("as usual") > 100
    assert faults("kept") < 10


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="only glibc keeps it so")
def test_what_was_kept_can_be_given_back():
    assert faults("given back") > 100
