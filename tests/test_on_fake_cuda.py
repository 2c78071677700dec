"""Runs what needs a CUDA device on one that is not there: the quick one of the files of `on_fake_cuda`.

A process for each file, since the device lasts as long as its process. The other files, and the gpu tests, take some
minutes: `.ci/run` runs them all, by `pytest --fake-cuda tests/on_fake_cuda/check_*.py tests/test_gpu.py`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from house_kit import fake_cuda

HERE = Path(__file__).parent
QUICK = ["check_device.py"]


@pytest.mark.slow
@pytest.mark.skipif(fake_cuda.why_not() is not None, reason=f"no fake CUDA device: {fake_cuda.why_not()}")
@pytest.mark.parametrize("name", QUICK)
def test_file_passes_on_a_device_that_is_not_there(name: str) -> None:
    command = [sys.executable, "-m", "pytest", "--fake-cuda", "-o", "addopts=", "-p", "no:cacheprovider", "-q", "-rN"]
    # Those of the outer run are not for it, the variables that tests of ranks may have left neither.
    others = ("PYTEST_", "RANK", "WORLD_SIZE", "LOCAL_", "TORCHELASTIC")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(others)}
    ended = subprocess.run(
        [*command, "--tb=short", str(HERE / "on_fake_cuda" / name)],
        cwd=HERE.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert ended.returncode == 0, f"\n{ended.stdout}\n{ended.stderr}"
