"""From a quantised GGUF file to a bfloat16 model folder that ``from_pretrained`` loads at once.

transformers can read GGUF by itself, but takes half a minute to dequantise at every load, and
leaves out three things that the original models have: one matrix for embedding and output, the
second stop token, and the tokenizer's treatment of digits.
"""

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import TrimtabError

if TYPE_CHECKING:
    from gguf import GGUFReader


def dequantise(gguf_file: Path, folder: Path) -> None:
    """Write the model and the tokenizer of a GGUF file into ``folder``.

    The model must be one whose embedding is also its output matrix.

    Raises:
        TrimtabError: transformers cannot read the file.
    """
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = str(gguf_file.parent)
    try:
        with _quiet_transformers():
            model: Any = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=torch.bfloat16,
                quantization_config=GgufConfig(dequantize=True),
                gguf_file=gguf_file.name,
            )
            tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf_file.name)
            described = GGUFReader(gguf_file)
            _tie(model, described)
            _stop_at_both(model, tokenizer)
            _split_digits(tokenizer, described)
            if hasattr(model.config, "quantization_config"):
                del model.config.quantization_config
            model.is_quantized = False
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    except OSError:  # a full disk is not a fault of the file
        raise
    except Exception as error:  # tokenizers raises nothing more special
        line = (str(error).strip() or repr(error)).splitlines()[0]
        raise TrimtabError(
            f"transformers cannot convert {gguf_file.name}: {line}; "
            "install the tested versions: pip install -c constraints.txt trimtab"
        ) from error


def _tie(model: Any, described: "GGUFReader") -> None:
    """Make one matrix of the embedding and the output: the copy that was quantised less."""
    bits = {tensor.name: tensor.n_bytes / tensor.n_elements for tensor in described.tensors}
    if bits.get("output.weight", 0.0) > bits["token_embd.weight"]:
        model.get_input_embeddings().weight = model.get_output_embeddings().weight
    model.config.tie_word_embeddings = True
    model.tie_weights()


def _stop_at_both(model: Any, tokenizer: Any) -> None:
    """Stop at the end of a turn, and at the end of a text, which a GGUF file does not name."""
    end_of_text = tokenizer.get_vocab().get("<|endoftext|>", tokenizer.eos_token_id)
    both = dict.fromkeys((tokenizer.eos_token_id, end_of_text))
    model.generation_config.eos_token_id = list(both)


def _split_digits(tokenizer: Any, described: "GGUFReader") -> None:
    """SmolLM's tokenizer takes each digit by itself, which transformers' reader leaves out."""
    from tokenizers.pre_tokenizers import Digits, Sequence

    kind = described.get_field("tokenizer.ggml.pre")
    if kind is not None and kind.contents() == "smollm":
        backend = tokenizer.backend_tokenizer
        digits = Digits(individual_digits=True)
        backend.pre_tokenizer = Sequence([digits, backend.pre_tokenizer])


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep transformers' bars and warnings to themselves: here they are of no use to a person."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with redirect_stderr(StringIO()):  # the bar of the GGUF reader heeds no setting
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
