"""Loading: where and in which type, and one line for what cannot be loaded."""

import json
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from trimtab import TrimtabError
from trimtab.steering.weights.loading import load_causal_lm
from trimtab.steering.weights.machine import default_dtype


@pytest.fixture
def folder(llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    llama.save_pretrained(tmp_path / "tiny")
    tiny_tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_the_default_is_by_hardware(folder: Path) -> None:
    hf, _ = load_causal_lm(str(folder), device="cpu")
    assert hf.dtype == default_dtype(torch.device("cpu")).dtype
    assert load_causal_lm(str(folder), dtype="bfloat16")[0].dtype == torch.bfloat16
    assert load_causal_lm(str(folder), dtype="auto", device="cpu")[0].dtype == torch.float32


@pytest.mark.parametrize("device_map", ["cpu", {"": "cpu"}, '{"": "cpu"}'])
def test_a_device_map(folder: Path, device_map: str | dict[str, str]) -> None:
    hf, _ = load_causal_lm(str(folder), device_map=device_map)
    assert {parameter.device.type for parameter in hf.parameters()} == {"cpu"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cpu", "device_map": "auto"}, "a device or a device_map, got both"),
        ({"device_map": "{oops"}, "expected device_map auto"),
        ({"device_map": "everywhere"}, "expected a device of this machine, such as cpu"),
        ({"dtype": "int3"}, "expected dtype float32"),
        ({"device": "cuda:9"}, "expected a device of this machine"),
    ],
)
def test_one_line_for_options_that_do_not_fit(
    folder: Path, options: dict[str, str], message: str
) -> None:
    with pytest.raises(TrimtabError, match=message) as caught:
        load_causal_lm(str(folder), **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "how",
    [
        {"quant_method": "gptq", "bits": 4, "group_size": 128},
        {"quant_method": "awq", "bits": 4},
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"load_in_8bit": True},
        {"quant_method": "compressed-tensors"},
        {"quant_method": "fp8"},
        {"quant_method": "hqq"},
        {"quant_method": "torchao"},
        {"quant_method": "quanto"},
        {"quant_method": "eetq"},
        {"quant_method": "aqlm"},
        {"quant_method": "fbgemm_fp8"},
        {"quant_method": "of tomorrow"},
    ],
)
def test_a_quantised_checkpoint_loads_or_names_its_package(
    folder: Path, how: dict[str, object]
) -> None:
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"quantization_config": how}))
    try:
        load_causal_lm(str(folder), device="cpu")
    except TrimtabError as error:
        assert "install" in str(error) and "\n" not in str(error)
        assert str(how.get("quant_method", "bitsandbytes")) in str(error)


def test_a_quantisation_that_is_no_object_is_refused(folder: Path) -> None:
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"quantization_config": "4bit"}))
    with pytest.raises(TrimtabError, match="as a JSON object, got '4bit'"):
        load_causal_lm(str(folder), device="cpu")
