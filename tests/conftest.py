"""What every test may ask for: an empty cache folder, the real models, and one that is scripted."""

import gc
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

# Before anything imports huggingface_hub: the suite asks no hub for anything.
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as drawn_by

# The same draws in every run, and no limit on their time: nothing fails on a slow machine alone.
drawn_by.register_profile(
    "suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
drawn_by.load_profile("suite")

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LONG = ("test_ray.py", "test_end_to_end.py", "test_every_family.py")
"""Files that take a minute: they come first, so that no worker is left with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONG)


def pytest_collection_finish() -> None:
    # All that was imported stays; nothing looks through it again for what can be freed.
    gc.collect()
    gc.freeze()


@pytest.fixture
def trimtab_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the test's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("TRIMTAB_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def real_model_path() -> Callable[[str], str]:
    """The folder of a model that has been pulled, by its name."""
    from trimtab.steering.weights.known import is_ready, model_path

    def find(name: str) -> str:
        if not is_ready(name):
            pytest.fail(f"run `trimtab models pull {name}` first, or deselect: -m 'not model'")
        return model_path(name)

    return find


@pytest.fixture(scope="session")
def default_model_path(real_model_path: Callable[[str], str]) -> str:
    """Qwen2.5-Coder-0.5B-Instruct."""
    return real_model_path("qwen2.5-coder-0.5b-instruct")


@pytest.fixture(scope="session")
def smollm2_path(real_model_path: Callable[[str], str]) -> str:
    """SmolLM2-135M-Instruct."""
    return real_model_path("smollm2-135m-instruct")


class Letters:
    """A sentence encoder that counts letters: equal words are near, and nothing is loaded."""

    name = "letters"

    def encode(self, texts):
        import torch

        counts = torch.tensor(
            [[float(text.lower().count(chr(97 + n))) for n in range(26)] for text in texts]
        ).reshape(len(texts), 26)
        return torch.nn.functional.normalize(counts, dim=-1)

    def similarity(self, left, right):
        one, other = self.encode([left, right])
        return float(one @ other)


@dataclass
class Scripted:
    """A model whose answers come from ``script``, a function of the request."""

    script: object
    name: str = "scripted"
    fingerprint: str = "f"
    encoder: Letters = field(default_factory=Letters)
    precision: str = "torch.bfloat16"
    hf: object = field(default_factory=SimpleNamespace)
    batches: list = field(default_factory=list)

    def configuration(self):
        return {"name": self.name, "fingerprint": self.fingerprint, "dtype": self.precision}

    def layer_at(self, depth):
        return min(int(depth * 2), 1)

    def generate(self, requests, **options):
        return [answer for _, answer in self.completions(requests, **options)]

    def completions(self, requests, **options):
        self.batches.append(list(requests))
        self.options = options
        for place, request in enumerate(requests):
            yield place, self._answer(request)

    def _answer(self, request):
        from trimtab.steering.generation.requests import Completion

        text = self.script(request)
        if isinstance(text, Completion):
            return text
        words = sum(len(str(message["content"]).split()) for message in request.messages)
        return Completion(
            text=text,
            tokens=tuple(range(len(text.split()))),
            prompt_tokens=words,
            forced_tokens=1,
            finish="stop",
        )

    @property
    def requests(self):
        return [request for batch in self.batches for request in batch]


@pytest.fixture
def letters():
    return Letters()


@pytest.fixture
def scripted():
    """Make a model from a function of the request, or from answers in order."""

    def make(script):
        if callable(script):
            return Scripted(script)
        answers = iter(script)
        return Scripted(lambda request: next(answers))

    return make


@pytest.fixture
def call():
    """Write a call in the model's own format."""

    def written(name, **arguments):
        call = json.dumps({"name": name, "arguments": arguments})
        return f"<tool_call>\n{call}\n</tool_call>"

    return written


TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def tiny_model_folder(save_tiny_model: Callable[[int], Path]) -> Path:
    """A saved model of random weights that reads and writes bytes, and knows the marks of calls."""
    return save_tiny_model(16384)


@pytest.fixture(scope="session")
def save_tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Save such a model with a context of so many tokens; gives its folder."""
    return lambda context: _saved(tmp_path_factory.mktemp("tiny-model"), context)


@pytest.fixture(scope="session")
def byte_model_path(save_tiny_model):
    """The folder of a tiny random model with a short context."""
    return save_tiny_model(2048)


@pytest.fixture(scope="session")
def word_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a model with tokens for the words of the built-in worlds: its prompts are short."""
    from trimtab.agent.shop.pairs import task_prompt
    from trimtab.envs.shop.environment import ShopEnvironment
    from trimtab.envs.worlds.bazaar import generate_bazaar
    from trimtab.envs.worlds.gazette import headlines
    from trimtab.steering.prompts.render import with_tools_as_text

    shop = ShopEnvironment(generate_bazaar(users=2, products=100), tmp_path_factory.mktemp("words"))
    texts = [
        message["content"]
        for task in shop.world.train
        for message in with_tools_as_text(task_prompt(shop, task), shop.toolkit.schemas())
    ]
    texts += [past.input for user in headlines(seed=0).users[:10] for past in user.history[:10]]
    return _saved(tmp_path_factory.mktemp("word-model"), 16384, texts)


@pytest.fixture(scope="session")
def folders(tmp_path_factory, word_model_folder):
    """A cache folder, a world and a tiny model, for whole commands."""
    from trimtab.envs.shop.personalwab import save_world
    from trimtab.envs.worlds.bazaar import generate_bazaar

    folder = tmp_path_factory.mktemp("run")
    save_world(generate_bazaar(users=3, products=100), folder / "world")
    (folder / "model").symlink_to(word_model_folder)
    return folder


@pytest.fixture(scope="session")
def byte_tokenizer() -> Callable[..., "PreTrainedTokenizerFast"]:
    """Make a tokenizer of one token a byte, with a template and tokens of its own."""
    return _byte_tokenizer


def _byte_tokenizer(
    template: str,
    *,
    special: tuple[str, ...] = ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    marks: tuple[str, ...] = (),
    texts: Sequence[str] = (),
    **options: Any,
) -> "PreTrainedTokenizerFast":
    """The last special token ends an answer, the first one pads.

    Where texts are given, what is frequent in them has tokens as well.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={c: n for n, c in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    if texts:
        trainer = trainers.BpeTrainer(
            vocab_size=2500, initial_alphabet=alphabet, show_progress=False
        )
        inner.train_from_iterator(texts, trainer)
    inner.add_special_tokens(list(special))
    inner.add_tokens([AddedToken(mark) for mark in marks])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=special[-1], pad_token=special[0], **options
    )
    tokenizer.chat_template = template
    return tokenizer


def _saved(folder: Path, context: int, texts: Sequence[str] = ()) -> Path:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = _byte_tokenizer(TEMPLATE, marks=("<tool_call>", "</tool_call>"), texts=texts)
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=context,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            initializer_range=0.3,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, if one is installed.

    No longer open than it must be: as long as it is, an event loop counts as running.
    """
    names = (os.environ.get("CHROMIUM", ""), *BROWSERS)
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"needs a browser: none of {', '.join(BROWSERS)} is here, nor is $CHROMIUM set")
    from playwright.sync_api import sync_playwright

    # Without its sandbox, which does not start for root; it opens nothing but our own page.
    with sync_playwright() as started:
        launched = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["PostgresServer"]:
    """A PostgreSQL server of the test's own, on a socket in a folder that goes away."""
    found = shutil.which("initdb") or max(glob("/usr/lib/postgresql/*/bin/initdb"), default=None)
    if found is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    account = [] if os.getuid() else ["runuser", "-u", "nobody", "--"]
    if account and shutil.which("runuser") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no runuser")
    # Not pytest's folder, which another user may not enter, and a socket's path must be short. In
    # memory where there is room: a database is hundreds of files, which a disk is slow to forget.
    memory = Path("/dev/shm")
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30
    place = memory if roomy else Path("/tmp")
    with tempfile.TemporaryDirectory(prefix="trimtab-pg-", dir=place) as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "data").mkdir()
        if account:
            shutil.chown(folder, "nobody")
            shutil.chown(folder / "data", "nobody")
        server = PostgresServer(folder, Path(found).resolve().parent, account)
        server.run("initdb", "-D", str(folder / "data"), "-U", "trimtab", "-A", "trust", "-N")
        server.start()
        yield server
        server.stop("immediate")


@dataclass
class PostgresServer:
    """A server that listens on a socket in its folder, and nowhere else."""

    folder: Path
    programs: Path
    account: list[str]
    made: int = 0

    def run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self.account, str(self.programs / program), *arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=self.folder,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"{program} of PostgreSQL does not run here: {done.stderr[-300:]}")

    def start(self) -> None:
        # Nothing here outlives the tests: no log of what is written beyond what a start needs.
        lasting = "-c fsync=off -c full_page_writes=off -c wal_level=minimal -c max_wal_senders=0"
        options = f"-k {self.folder} -c listen_addresses='' -c max_connections=60 {lasting}"
        log = str(self.folder / "log")
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-l", log, "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")

    def url(self, database: str) -> str:
        return f"postgresql://trimtab@/{database}?host={self.folder}"

    def new_database(self) -> str:
        """The URL of an empty database."""
        import psycopg

        self.made += 1
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE test{self.made}")
        return self.url(f"test{self.made}")

    def drop(self, url: str) -> None:
        """Drop a database, with whatever is still connected to it."""
        import psycopg

        name = urlsplit(url).path[1:]
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
