"""The data type follows from what the machine multiplies in."""

import pytest
import torch

from trimtab import TrimtabError
from trimtab.steering.weights import machine
from trimtab.steering.weights.machine import default_dtype, device_of, dtype_of, processor_features

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("features", "dtype", "reason"),
    [
        (("avx2",), torch.float32, "no AVX512-BF16 or AMX-BF16"),
        (("avx2", "avx512_f"), torch.float32, "no AVX512-BF16"),
        (("avx2", "avx512_bf16"), torch.bfloat16, "has AVX512-BF16"),
        (("amx_bf16", "amx_tile"), torch.bfloat16, "has AMX-BF16"),
        (("dot", "neon"), torch.float32, "no BF16"),
        (("bf16", "neon"), torch.bfloat16, "has BF16"),
    ],
)
def test_bfloat16_only_where_the_processor_multiplies_in_it(
    features: tuple[str, ...], dtype: torch.dtype, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "processor_features", lambda: features)
    choice = default_dtype(CPU)
    assert choice.dtype == dtype
    assert reason in choice.reason


@pytest.mark.parametrize(
    ("capability", "able", "dtype"),
    [
        ((7, 5), False, torch.float32),
        ((8, 0), True, torch.bfloat16),
        ((9, 0), True, torch.bfloat16),
    ],
)
def test_bfloat16_only_where_the_gpu_multiplies_in_it(
    capability: tuple[int, int], able: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: able)
    choice = default_dtype(torch.device("cuda:0"))
    assert choice.dtype == dtype
    assert f"{capability[0]}.{capability[1]}" in choice.reason


def test_this_processor_is_read_as_pytorch_reads_it() -> None:
    features = processor_features()
    assert ("avx512_bf16" in features) == torch.cpu._is_avx512_bf16_supported()
    assert ("avx2" in features) == torch.cpu._is_avx2_supported()


def test_a_data_type_by_name() -> None:
    assert dtype_of("float16", CPU) == torch.float16
    assert dtype_of(torch.float64, CPU) == torch.float64
    assert dtype_of("auto", CPU) == "auto"
    assert dtype_of(None, CPU) == default_dtype(CPU).dtype
    with pytest.raises(TrimtabError, match=r"float32, bfloat16, float16, int8 or auto, got 'half'"):
        dtype_of("half", CPU)


@pytest.mark.parametrize("name", ["gpu", "cuda:7", "cpu:x"])
def test_a_device_that_is_not_here(name: str) -> None:
    assert device_of("cpu") == CPU
    with pytest.raises(TrimtabError, match=f"expected a device of this machine.*got '{name}'"):
        device_of(name)
