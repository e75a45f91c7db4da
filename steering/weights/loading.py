"""Loading a causal language model and its tokenizer, on the device and in the type that fit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch

from ...errors import TrimtabError
from .container import use_no_more_threads_than_cores
from .known import model_path
from .machine import default_device, device_of, dtype_of
from .quiet import without_loading_bars

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

QUANTISED_BY = {
    "aqlm": "aqlm",
    "auto-round": "auto-round",
    "awq": "gptqmodel",
    "bitsandbytes": "bitsandbytes",
    "bitsandbytes_4bit": "bitsandbytes",
    "bitsandbytes_8bit": "bitsandbytes",
    "compressed-tensors": "compressed-tensors",
    "eetq": "kernels",
    "fbgemm_fp8": "fbgemm-gpu-genai",
    "fp8": "kernels",
    "gptq": "gptqmodel optimum",
    "higgs": "flute-kernel",
    "hqq": "hqq",
    "mxfp4": "kernels",
    "quanto": "optimum-quanto",
    "quark": "amd-quark",
    "spqr": "spqr-quant",
    "torchao": "torchao",
    "vptq": "vptq",
}
"""What pip installs to load a checkpoint that was quantised by a method."""

_BY_ACCELERATE = ("auto", "balanced", "balanced_low_0", "sequential")


def load_causal_lm(
    name: str,
    *,
    dtype: torch.dtype | str | None = None,
    device: str | torch.device | None = None,
    device_map: str | dict[str, Any] | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model that trimtab can fetch by itself, a hub id, or a local folder.

    Args:
        name: See ``trimtab models list`` for the first kind.
        dtype: ``float32``, ``bfloat16``, ``float16`` or ``auto``, the checkpoint's own; default:
            bfloat16 where the machine multiplies in it, else float32, and ``auto`` for a
            quantised checkpoint on a GPU.
        device: Such as ``cpu`` or ``cuda:1``; default: a GPU where there is one.
        device_map: In its place, where accelerate puts each part: ``auto``, ``balanced``, or the
            map itself (also as JSON), from a module's name to a device, ``cpu`` or ``disk``.

    Raises:
        TrimtabError: The model cannot be found, fetched or read, its quantisation needs a package
            or a device that is not here, or no such device or data type.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = model_path(name)
    use_no_more_threads_than_cores()
    if device is not None and device_map is not None:
        raise TrimtabError("expected a device or a device_map, got both; leave one out")
    where = device_of(device) if device_map is None else default_device()
    method = None
    try:
        method = quantisation(path)
        wanted = "auto" if method and dtype is None and where.type != "cpu" else dtype
        options: dict[str, Any] = {"dtype": dtype_of(wanted, where)}
        if device_map is not None:
            options["device_map"] = _map_of(device_map)
        elif method:  # packed weights are laid out for the device that they are loaded on
            options["device_map"] = {"": where}
        with without_loading_bars():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path, output_loading_info=True, **options
            )
        tokenizer = AutoTokenizer.from_pretrained(path)
    except TrimtabError:
        raise
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        raise _refusal(name, method, error) from error
    except Exception as error:
        if not method:
            raise
        raise _refusal(name, method, error) from error
    if not tokenizer("a text", add_special_tokens=False)["input_ids"] or len(tokenizer) < 8:
        raise TrimtabError(  # transformers makes an empty one where files are missing
            f"the tokenizer of {name!r} has {len(tokenizer)} tokens and cannot write a text; "
            "expected its files beside the model's, such as tokenizer.json: fetch them"
        )
    hf, info = loaded
    missing = sorted(info["missing_keys"])
    if missing:  # transformers fills them with random numbers
        raise TrimtabError(
            f"the checkpoint {name!r} lacks {len(missing)} weights of {type(hf).__name__}, such as "
            f"{missing[0]}; fetch it anew, or use a checkpoint of a causal language model"
        )
    if "device_map" not in options:
        hf.to(where)
    return hf, tokenizer


def quantisation(path: str) -> str | None:
    """The method that a checkpoint was quantised by, as its configuration names it; or None."""
    from transformers import PreTrainedConfig

    config, _ = PreTrainedConfig.get_config_dict(path)
    declared = config.get("quantization_config") or config.get("compression_config")
    if declared is None:
        return None
    if not isinstance(declared, dict):
        raise TrimtabError(
            f"expected the quantization_config of {path} as a JSON object, got {declared!r}; "
            "fetch its config.json anew"
        )
    return str(declared.get("quant_method") or "bitsandbytes")


def _map_of(device_map: str | dict[str, Any]) -> Any:
    if isinstance(device_map, dict):
        return device_map
    if not device_map.lstrip().startswith("{"):
        if device_map not in _BY_ACCELERATE:
            device_of(device_map)
        return device_map
    try:
        return json.loads(device_map)
    except ValueError as error:
        raise TrimtabError(
            "expected device_map auto, balanced, a device, or a JSON object from module to "
            f"device, got {device_map!r}"
        ) from error


def _refusal(name: str, method: str | None, error: Exception) -> TrimtabError:
    lines = str(error).strip().splitlines()
    line = lines[0] if lines else type(error).__name__
    if method:
        package = QUANTISED_BY.get(method)
        remedy = f"pip install {package}" if package else "install the package that it names"
        return TrimtabError(
            f"cannot load {name!r}, which is quantised by {method}: {line}; {remedy}, use a "
            "device that it supports, or load a checkpoint that is not quantised"
        )
    return TrimtabError(
        f"cannot load the model {name!r}: expected a name from `trimtab models list`, a "
        f"hub id that can be reached or a local folder; {line}"
    )
