"""Which workers a run asks of a Ray cluster."""

from dataclasses import dataclass
from pathlib import Path

from ....errors import T396, T600, T600_OPTION

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Workers:
    """Workers of a Ray cluster.

    address (str | None): Of a running cluster: "HOST:6379", "ray://HOST:10001", or "auto" for the one on this machine.
        None: $RAY_ADDRESS, else a cluster of this machine alone, which ends with the run.
    n_workers (int | None): Most workers. None: as many as the cluster has room for.
    on_gpu (bool): Each takes a GPU; otherwise as many CPU cores as this process computes with.
    code (Path | None): Python file with registered functions that the pipeline uses.
    """

    address: str | None = None
    n_workers: int | None = None
    on_gpu: bool = False
    code: Path | None = None


def choose_workers(
    engine: str, address: str | None, n_workers: int | None, *, on_gpu: bool, code: Path | None
) -> Workers | None:
    """Read what the user says of where to compute.

    engine (str): "local" or "ray".
    address (str | None): As in `Workers`.
    n_workers (int | None): As in `Workers`.
    on_gpu (bool): As in `Workers`.
    code (Path | None): As in `Workers`.
    RETURNS (Workers | None): None to compute in this process.
    RAISES (ValueError): T396 for a value that cannot be, T600 for what belongs to the other engine.
    """
    if engine not in ENGINES:
        raise ValueError(T396.format(option="--engine", value=repr(engine), want=" or ".join(ENGINES)))
    if engine == "local":
        for option, value in (("--address", address), ("--workers", n_workers)):
            if value is not None:
                raise ValueError(T600.format(problem=T600_OPTION.format(option=option)))
        return None
    if n_workers is not None and n_workers < 1:
        raise ValueError(T396.format(option="--workers", value=n_workers, want="a whole number from 1 on"))
    return Workers(address, n_workers, on_gpu, code)
