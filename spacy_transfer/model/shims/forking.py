"""Makes `nlp.pipe(n_process=2)` safe under fork, the default start method on Linux.

A forked child of a process that has run torch on several threads waits for threads it does not have: without the hook
below it hangs for ever. The Rust tokenizer likewise, when TOKENIZERS_PARALLELISM is set. A GPU that the parent has used
is out of reach for the child whatever is done; it is told so.
"""

import os

import torch

from ...errors import T310
from ...nn.masked_lm import MaskedLMNetwork
from ...nn.network import Network

_before: list[str | None] = []


def _quieten_tokenizers() -> None:
    _before.append(os.environ.get("TOKENIZERS_PARALLELISM"))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _restore_tokenizers() -> None:
    value = _before.pop() if _before else None
    if value is None:
        os.environ.pop("TOKENIZERS_PARALLELISM", None)
    else:
        os.environ["TOKENIZERS_PARALLELISM"] = value


def check_reach(network: Network | MaskedLMNetwork) -> None:
    """Check that a network can be reached from this process.

    network (Network | MaskedLMNetwork): On any device.
    RAISES (RuntimeError): T310 for one on CUDA in a child of a process that had used CUDA before it forked.
    """
    if torch.cuda._is_in_bad_fork() and network.device.type == "cuda":
        raise RuntimeError(T310)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_quieten_tokenizers,
        after_in_parent=_restore_tokenizers,
        after_in_child=lambda: torch.set_num_threads(1),
    )
