"""What the soaks share: jobs that are killed by SIGKILL at random moments, begun again until they end, and compared."""

import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import spacy
import torch

Job = Callable[[Path], None]


@dataclass
class Outcome:
    """What was seen.

    kills (dict[str, int]): By kind of job.
    n_finished (int): Jobs that came to their end.
    n_resumed (int): Starts that found something to go on with.
    n_differing (int): Jobs whose files were not those of one that was never killed.
    minutes (float): All of it.
    """

    kills: dict[str, int] = field(default_factory=dict)
    n_finished: int = 0
    n_resumed: int = 0
    n_differing: int = 0
    minutes: float = 0.0

    @property
    def n_kills(self) -> int:
        """Of all jobs."""
        return sum(self.kills.values())


def start(work: Job, output: Path) -> int:
    """Begin or go on, in a process of its own. RETURNS (int): Its id."""
    process = os.fork()
    if process:
        return process
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        work(output)
    except BaseException as error:
        print(f"\n{type(error).__name__}: {error}", file=sys.stderr)
        os._exit(1)
    os._exit(0)


def soak(
    make_jobs: Callable[[Path], Sequence[tuple[str, Job]]],
    figures: Callable[[Path], Mapping[str, Any]],
    *,
    kills: int,
    seed: int,
    most_kills: int,
    is_resumed: Callable[[Path], bool] = lambda output: output.exists(),
) -> Outcome | None:
    """Kill jobs in turns, and compare what each leaves with what it leaves when nobody kills it.

    make_jobs (Callable): Writes what jobs need into a folder, and gives their names and what they do. A name begins
        with the kind, up to a comma.
    figures (Callable): What is compared of an output folder.
    kills (int): How many.
    seed (int): Of the moments.
    most_kills (int): Of one job, after which it may come to its end.
    is_resumed (Callable): Whether a start finds something in the output folder to go on with.
    RETURNS (Outcome | None): What was seen; None where a job failed of itself.
    """
    torch.set_num_threads(1)
    spacy.blank("en")
    logging.getLogger("spacy_transfer").setLevel("ERROR")
    chance, seen, begun = random.Random(seed), Outcome(), time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder, output = Path(name), Path(name) / "out"
        jobs = make_jobs(folder)
        whole: dict[str, tuple[Mapping[str, Any], float]] = {}
        while seen.n_kills < kills:
            kind, work = jobs[seen.n_finished % len(jobs)]
            if kind not in whole:
                begin = time.perf_counter()
                if os.waitpid(start(work, output), 0)[1]:
                    return None
                whole[kind] = figures(output), time.perf_counter() - begin
                shutil.rmtree(output)
            status, n_here, what = -1, 0, kind.partition(",")[0]
            while status:
                seen.n_resumed += is_resumed(output)
                process = start(work, output)
                # A job that is too short to be hit often comes to its end after some kills.
                if seen.n_kills < kills and n_here < most_kills:
                    time.sleep(chance.uniform(0, 0.9 * whole[kind][1]))
                    os.kill(process, signal.SIGKILL)
                status = os.waitpid(process, 0)[1]
                if os.WIFEXITED(status) and status:
                    print(f"after {seen.kills} kills a job that went on failed: {kind}")
                    return None
                n_here += os.WIFSIGNALED(status)
                seen.kills[what] = seen.kills.get(what, 0) + os.WIFSIGNALED(status)
            seen.n_finished += 1
            now, then = figures(output), whole[kind][0]
            if now != then:
                seen.n_differing += 1
                print(f"  other: {sorted(key for key in {*now, *then} if now.get(key) != then.get(key))}")
            shutil.rmtree(output)
            print(f"{seen.n_kills} kills, {seen.n_finished} jobs, {seen.n_differing} differ ({kind})", flush=True)
    seen.minutes = (time.perf_counter() - begun) / 60
    return seen
