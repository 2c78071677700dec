"""An HTTP service around trained pipelines."""

from ...errors import require

# They are an extra: say how to install it before the first import of one fails.
for _package in ("fastapi", "uvicorn", "prometheus_client"):
    require(_package, "serve")
