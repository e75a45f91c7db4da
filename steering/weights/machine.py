"""What the machine has, and the data type and device that follow from it.

A processor without instructions for bfloat16 converts every number to float32 and back: on an
AVX2 processor a model decodes 1.7 times slower in it, and reads activations 5.2 times slower. So
bfloat16 is the default only where the machine multiplies in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ...errors import TrimtabError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_CPU_WITH_BFLOAT16 = {
    "avx512_bf16": "AVX512-BF16",
    "amx_bf16": "AMX-BF16",
    "bf16": "BF16",
    "sve_bf16": "SVE-BF16",
}


@dataclass(frozen=True)
class DtypeChoice:
    """A data type for a model's weights, and why it is this one."""

    dtype: torch.dtype
    reason: str


def default_device() -> torch.device:
    """A CUDA GPU where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(name: str | torch.device | None) -> torch.device:
    """The device of a name such as ``cpu``, ``cuda`` or ``cuda:1``; None is the default one.

    Raises:
        TrimtabError: No such device, or none on this machine.
    """
    if name is None:
        return default_device()
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TrimtabError(
            f"expected a device of this machine, such as cpu, cuda or cuda:1, got {str(name)!r}; "
            "`trimtab doctor` shows what it has"
        ) from error
    return device


def dtype_of(name: str | torch.dtype | None, device: torch.device) -> torch.dtype | str:
    """The data type of a name; None is the default one of the device, ``auto`` the checkpoint's.

    Raises:
        TrimtabError: Another name.
    """
    if name is None:
        return default_dtype(device).dtype
    if name == "auto" or isinstance(name, torch.dtype):
        return name
    if name not in DTYPES:
        raise TrimtabError(f"expected dtype {', '.join(DTYPES)}, int8 or auto, got {name!r}")
    return DTYPES[name]


def default_dtype(device: torch.device) -> DtypeChoice:
    """bfloat16 where the device multiplies in it, else float32."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        # A ROCm build reports its own numbers, and says itself what it multiplies in.
        able = torch.cuda.is_bf16_supported(including_emulation=False)
        what = f"the GPU's compute capability is {major}.{minor}"
        if able:
            return DtypeChoice(torch.bfloat16, f"{what}, which multiplies in bfloat16")
        return DtypeChoice(torch.float32, f"{what}, and bfloat16 needs 8.0")
    if device.type != "cpu":
        return DtypeChoice(torch.float32, f"nothing is known of bfloat16 on {device.type}")
    features = processor_features()
    found = [name for key, name in _CPU_WITH_BFLOAT16.items() if key in features]
    if found:
        return DtypeChoice(torch.bfloat16, f"the processor has {found[0]}")
    wanted = "BF16" if "neon" in features else "AVX512-BF16 or AMX-BF16"
    return DtypeChoice(torch.float32, f"the processor has no {wanted}")


def processor_features() -> tuple[str, ...]:
    """The instruction sets of the processor that PyTorch found, such as ``avx2``."""
    if not hasattr(torch.cpu, "get_capabilities"):  # before PyTorch 2.12
        older = {
            "avx2": "_is_avx2_supported",
            "avx512_f": "_is_avx512_supported",
            "avx512_bf16": "_is_avx512_bf16_supported",
            "amx_bf16": "_is_amx_tile_supported",
        }
        return tuple(key for key, name in older.items() if getattr(torch.cpu, name, bool)())
    found = torch.cpu.get_capabilities()
    return tuple(sorted(name for name, value in found.items() if value is True))
