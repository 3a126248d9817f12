"""Landlock alone, without the seccomp filter, denies files and signals."""

import struct
import subprocess
import sys

import pytest

from worker.imaging.landlock import ruleset_attributes

CODE = """
import os, signal, sys
from worker.imaging.landlock import deny_files
from worker.ipc.process_attributes import forbid_new_privileges
forbid_new_privileges()
null = open(os.devnull)
if not deny_files():
    sys.exit(77)
attempts = {
    "open": lambda: open("/etc/passwd"),
    "list": lambda: os.listdir("/"),
    "create": lambda: open("/tmp/created", "w"),
    "make a folder": lambda: os.mkdir("/tmp/created"),
    "execute": lambda: os.execv(sys.executable, ["python"]),
}
for name, attempt in attempts.items():
    try:
        attempt()
        print(name, "possible")
    except PermissionError:
        pass
print(null.read())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock belongs to Linux")
def test_a_process_with_landlock_opens_no_file_and_keeps_those_that_are_open() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=False, timeout=30
    )
    if done.returncode == 77:
        pytest.skip("this kernel does not have Landlock")
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@pytest.mark.parametrize(
    ("abi", "rights"),
    [(1, (0x1FFF,)), (2, (0x3FFF,)), (3, (0x7FFF,)), (4, (0x7FFF, 3)), (5, (0xFFFF, 3)), (6, (0xFFFF, 3, 3))],
)
def test_each_version_of_landlock_denies_all_that_it_knows(abi: int, rights: tuple[int, ...]) -> None:
    assert struct.unpack(f"={len(rights)}Q", ruleset_attributes(abi)) == rights


def test_a_version_of_landlock_that_is_not_known_yet_denies_what_is_known() -> None:
    assert ruleset_attributes(99) == ruleset_attributes(6)
