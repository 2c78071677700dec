"""README.md of an exported folder: lines of Python that give its scores, its labels, and what it does not do."""

import inspect
from collections.abc import Iterator, Sequence

from torch import nn

from ...nn.heads.head_weights import HEAD_FILE, HeadWeights
from ...nn.sentence_pooling import Dense, SentenceModules
from .sentence_files import dense_folders

_ACTIVATIONS = {
    "relu": "torch.relu({})", "gelu": "torch.nn.functional.gelu({})", "tanh": "torch.tanh({})",
    "Identity": "{}", "Tanh": "torch.tanh({})", "ReLU": "torch.relu({})", "GELU": "torch.nn.functional.gelu({})",
    "Sigmoid": "torch.sigmoid({})",
}  # fmt: skip
_POOLINGS = {
    "cls": "states[:, 0]",
    "lasttoken": "states[torch.arange(len(states)), mask.sum(1)[:, 0] - 1]",
    "max": "states.masked_fill(mask == 0, torch.finfo(states.dtype).min).amax(1)",
    "mean": "(states * mask).sum(1) / mask.sum(1)",
}
_FRONT = """---
library_name: transformers
pipeline_tag: text-classification
tags: [spacy-transfer]
---
"""


def loading_lines(
    body: nn.Module, head: HeadWeights, modules: SentenceModules | None, *, has_class: bool, exclusive: bool
) -> list[str]:
    """Lines of Python, run in the folder, that load the model and score two texts.

    body (nn.Module): Of transformers.
    head (HeadWeights): On it.
    modules (SentenceModules | None): How vectors are made; None for attention.
    has_class (bool): The head is part of the model.
    exclusive (bool): Scores are a softmax.
    RETURNS (list[str]): The last but one sets `scores`, (n_texts, n_labels).
    """
    activate = ".softmax(1)" if exclusive else ".sigmoid()"
    kind = "AutoModelForSequenceClassification" if has_class else "AutoModel"
    # Without weights for a pooler, which nobody reads, transformers would warn.
    poolers = not has_class and "add_pooling_layer" in inspect.signature(type(body).__init__).parameters
    lines = [
        "import torch",
        *([] if has_class else ["from safetensors.torch import load_file"]),
        f"from transformers import {kind}, AutoTokenizer",
        "",
        'folder, texts = ".", ["The first text.", "The second text."]',
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        f"model = {kind}.from_pretrained(folder{', add_pooling_layer=False' if poolers else ''}).eval()",
        *([] if has_class else [f'head = load_file(f"{{folder}}/{HEAD_FILE}")']),
        'rows = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")',
    ]
    if has_class:
        lines += ["with torch.no_grad():", f"    scores = model(**rows).logits{activate}"]
    else:
        lines.append('mask = rows["attention_mask"].unsqueeze(2)')
        steps = [
            "states = model(**rows).last_hidden_state",
            *_vector_lines(modules),
            *_head_lines(head),
            f'scores = (vectors @ head["weight"].T + head["bias"]){activate}',
        ]
        lines += ["with torch.no_grad():", *(f"    {line}" for line in steps)]
    chosen = "scores.argmax(1).tolist()" if exclusive else "(scores >= 0.5).nonzero()[:, 1].tolist()"
    return [*lines, f"print([model.config.id2label[i] for i in {chosen}], scores)"]


def _vector_lines(modules: SentenceModules | None) -> Iterator[str]:
    if modules is None:
        yield 'weights = (states @ head["pooling.score.weight"].T).masked_fill(mask == 0, -1e30).softmax(1)'
        yield "vectors = (weights * states).sum(1)"
        return
    pooled = [_POOLINGS[mode] for mode in modules.modes]
    yield f"vectors = {pooled[0]}" if len(pooled) == 1 else f"vectors = torch.cat([{', '.join(pooled)}], 1)"
    for one, place in zip(modules.after, dense_folders(modules), strict=True):
        if not isinstance(one, Dense):
            yield "vectors = torch.nn.functional.normalize(vectors)"
            continue
        yield f'dense = load_file(f"{{folder}}/{place}/model.safetensors")'
        linear = 'vectors @ dense["linear.weight"].T' + (' + dense["linear.bias"]' if one.bias else "")
        yield f"vectors = {_ACTIVATIONS[one.activation].format(linear)}"


def _head_lines(head: HeadWeights) -> Iterator[str]:
    if head.norm is not None:
        yield _norm_line("norm")
    for i, layer in enumerate(head.hidden):
        linear = f'vectors @ head["hidden.{i}.weight"].T + head["hidden.{i}.bias"]'
        yield f"vectors = {_ACTIVATIONS[head.activation].format(linear)}"
        if layer.norm is not None:
            yield _norm_line(f"hidden.{i}.norm")


def _norm_line(name: str) -> str:
    weights = f'head["{name}.weight"], head["{name}.bias"]'
    return f"vectors = torch.nn.functional.layer_norm(vectors, vectors.shape[1:], {weights})"


def card(name: str, source: str, labels: Sequence[str], lines: Sequence[str], differences: Sequence[str]) -> str:
    """README.md.

    name (str): Of the pipeline.
    source (str): Of the encoder.
    labels (Sequence[str]): In the order of the scores.
    lines (Sequence[str]): That load the model.
    differences (Sequence[str]): From the pipeline.
    RETURNS (str): Markdown.
    """
    code = "\n".join(lines)
    shown = "\n".join(f"{i}. {label}" for i, label in enumerate(labels))
    notes = "\n".join(f"- {one}" for one in differences)
    return (
        f"{_FRONT}\n# {name}\n\n"
        f"A text classifier on {source}, trained with spacy-transfer and exported to transformers.\n\n"
        f"Run in this folder:\n\n```python\n{code}\n```\n\n## Labels\n\n{shown}\n\n"
        f"## What differs from the spaCy pipeline\n\n{notes}\n"
    )
