"""What tests share: texts, tiny encoders, pipelines and runs of them. Fixtures and hooks stand in `conftest.py`."""

import pytest

# Their asserts say what was compared, as those of tests do.
pytest.register_assert_rewrite(*(f"house_kit.{name}" for name in ("commands", "losses", "pipelines", "runs")))
