"""Runs what needs a CUDA device on one that is not there: the files of `on_fake_cuda`, and the gpu tests.

A process for each file, since the device lasts as long as its process and starting one takes some seconds.
"""

import os
import subprocess
import sys
from pathlib import Path

import fake_cuda
import pytest

HERE = Path(__file__).parent
FILES = sorted((HERE / "on_fake_cuda").glob("check_*.py"))


@pytest.mark.skipif(fake_cuda.why_not() is not None, reason=f"no fake CUDA device: {fake_cuda.why_not()}")
@pytest.mark.parametrize("file", [*FILES, HERE / "test_gpu.py"], ids=lambda file: file.stem)
def test_file_passes_on_a_device_that_is_not_there(file: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--fake-cuda",
        "-o",
        "addopts=",
        "-p",
        "no:cacheprovider",
        "-q",
        "-rN",
        "--tb=short",
    ]
    # Those of the outer run are not for it, the variables that tests of ranks may have left neither.
    others = ("PYTEST_", "RANK", "WORLD_SIZE", "LOCAL_", "TORCHELASTIC")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(others)}
    ended = subprocess.run(
        [*command, "--tb=short", str(file)],
        cwd=HERE.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert ended.returncode == 0, f"\n{ended.stdout}\n{ended.stderr}"
