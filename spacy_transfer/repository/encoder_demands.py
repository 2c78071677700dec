"""What an encoder folder may not ask for: custom code, quantized weights, adapters, external attention kernels."""

from pathlib import Path

from ..errors import T016, T016_ADAPTER, T016_CODE, T016_KERNEL, T016_QUANTIZED
from ..files.strangers import UnusableFile
from ..json_types import JsonMapping

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
# Those of transformers itself; they are not followed either, since the config block chooses.
_ATTENTIONS = (None, "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")


def check_asks_nothing(values: JsonMapping, name: str) -> None:
    """Refuse a configuration that makes transformers load something else than the weights beside it.

    values (Mapping): As config.json holds them.
    name (str): What the user calls the encoder.
    RAISES (UnusableFile): T016 for quantized weights, code of the model's own, and attention kernels from elsewhere.
    """
    if values.get("quantization_config") is not None:
        raise UnusableFile(T016.format(name=name, error=T016_QUANTIZED))
    if values.get("auto_map"):
        raise UnusableFile(T016.format(name=name, error=T016_CODE))
    for key, value in values.items():
        is_known = not isinstance(value, list | dict) and value in _ATTENTIONS
        if "attn_implementation" in key and not key.endswith("_autoset") and not is_known:
            raise UnusableFile(T016.format(name=name, error=T016_KERNEL.format(key=key, value=repr(value)[:80])))


def check_no_adapter(folder: Path, source: str) -> None:
    """Refuse an adapter in an encoder's folder, which transformers would put into the encoder without a word.

    RAISES (UnusableFile): T016 with the way out.
    """
    if found := [name for name in ADAPTER_FILES if (folder / name).exists()]:
        raise UnusableFile(T016.format(name=source, error=T016_ADAPTER.format(file=found[0])))
