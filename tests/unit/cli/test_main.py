"""The command's outermost edge."""

from __future__ import annotations

import os
import subprocess
import sys


def test_a_reader_that_goes_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-m", "twinplane.cli.main", "version"]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=300, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
