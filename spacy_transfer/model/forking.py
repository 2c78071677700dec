"""Makes `nlp.pipe(n_process=2)` safe under fork, the default start method on Linux.

A forked child of a process that has run torch on several threads waits for threads it does not have: without the hook
below it hangs for ever. The Rust tokenizer likewise, when TOKENIZERS_PARALLELISM is set.
"""

import os

import torch

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


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_quieten_tokenizers,
        after_in_parent=_restore_tokenizers,
        after_in_child=lambda: torch.set_num_threads(1),
    )
