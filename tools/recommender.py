"""Sequential recommendation: SASRec, and the popularity baseline that it has to beat."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from ..errors import TrimtabError
from ..files import replacing
from .search import words


class SASRec(nn.Module):
    """Self-attentive sequential recommendation (Kang and McAuley, 2018).

    Parameters are named, and the layers ordered, as in the PyTorch implementation that is used
    most, so that a state dict of it (such as PersonalWAB's) fits: attention's query alone is
    normed, and padding is attended to. Item 0 and position 0 are padding.

    Args:
        items: Number of items; they are numbered from 1.
        max_length: Items of a sequence that are seen.
        hidden: Size of the embeddings.
        blocks: Number of blocks of attention and feed-forward layers.
        heads: Attention heads; ``hidden`` is a multiple of it.
        dropout: Share of values that are dropped in training.
    """

    def __init__(
        self,
        items: int,
        *,
        max_length: int = 30,
        hidden: int = 50,
        blocks: int = 2,
        heads: int = 2,
        dropout: float = 0.2,
    ) -> None:
        """Make the layers, with random weights from torch's global generator."""
        super().__init__()
        self.max_length = max_length
        self.heads = heads
        self.item_emb = nn.Embedding(items + 1, hidden, padding_idx=0)
        self.pos_emb = nn.Embedding(max_length + 1, hidden, padding_idx=0)
        self.emb_dropout = nn.Dropout(dropout)
        self.attention_layernorms = nn.ModuleList(_norm(hidden) for _ in range(blocks))
        self.attention_layers = nn.ModuleList(
            nn.MultiheadAttention(hidden, heads, dropout, batch_first=True) for _ in range(blocks)
        )
        self.forward_layernorms = nn.ModuleList(_norm(hidden) for _ in range(blocks))
        self.forward_layers = nn.ModuleList(_FeedForward(hidden, dropout) for _ in range(blocks))
        self.last_layernorm = _norm(hidden)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_normal_(parameter)
        with torch.no_grad():
            self.item_emb.weight[0] = 0
            self.pos_emb.weight[0] = 0

    def forward(self, sequences: Tensor) -> Tensor:
        """What each position expects to come next.

        Args:
            sequences: Item numbers, padded with 0 on the left; shape ``(batch, length)``, with a
                length of at most ``max_length``.

        Returns:
            Features of shape ``(batch, length, hidden)``. Their dot products with the items'
            embeddings are the items' scores. Position ``t`` depends on items up to ``t`` only.
        """
        length = sequences.shape[1]
        positions = torch.arange(1, length + 1, device=sequences.device) * (sequences != 0)
        scale = math.sqrt(self.item_emb.embedding_dim)
        states = self.emb_dropout(self.item_emb(sequences) * scale + self.pos_emb(positions))
        future = torch.ones(length, length, dtype=torch.bool, device=sequences.device).triu(1)
        for norm, attention, forward_norm, forward in zip(
            self.attention_layernorms,
            self.attention_layers,
            self.forward_layernorms,
            self.forward_layers,
            strict=True,
        ):
            query = norm(states)
            states = query + attention(query, states, states, attn_mask=future, need_weights=False)[0]
            states = forward(forward_norm(states))
        return self.last_layernorm(states)

    @classmethod
    def of_weights(cls, weights: Mapping[str, Tensor], *, heads: int = 2) -> "SASRec":
        """The network that a state dict is of; all but the number of heads shows in it.

        Raises:
            RuntimeError: The state dict is not one of this network.
            KeyError: It lacks the embeddings.
        """
        items, hidden = weights["item_emb.weight"].shape
        blocks = sum(name.endswith(".in_proj_weight") for name in weights)
        network = cls(
            items - 1,
            max_length=len(weights["pos_emb.weight"]) - 1,
            hidden=hidden,
            blocks=blocks,
            heads=heads,
        )
        network.load_state_dict(dict(weights))
        return network

    def scores(self, sequences: Tensor) -> Tensor:
        """Scores of all items as the next one of each sequence; shape ``(batch, items)``."""
        return self(sequences)[:, -1] @ self.item_emb.weight[1:].T


class _FeedForward(nn.Module):
    """The point-wise feed-forward layer with its residual connection."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(hidden, hidden, kernel_size=1)
        self.dropout1 = nn.Dropout(dropout)
        self.conv2 = nn.Conv1d(hidden, hidden, kernel_size=1)
        self.dropout2 = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        inner = functional.relu(self.dropout1(self.conv1(states.transpose(1, 2))))
        return states + self.dropout2(self.conv2(inner)).transpose(1, 2)


def _norm(hidden: int) -> nn.LayerNorm:
    return nn.LayerNorm(hidden, eps=1e-8)


class Epoch(NamedTuple):
    """How training stands after an epoch.

    ``loss`` is the training loss, ``ndcg`` and ``recall`` (at 10) are those of the held-back items.
    """

    number: int
    loss: float
    ndcg: float
    recall: float


class Recommender(Protocol):
    """What recommends the next item of a sequence."""

    def recommend(self, sequence: Sequence[str], k: int = 10) -> list[str]:
        """The ids of at most ``k`` items, best first."""
        ...


class Popularity:
    """The baseline: what is bought most, whoever asks.

    Args:
        sequences: Item ids, one sequence a user.
        items: Further items to recommend after those, never bought in any sequence.
    """

    def __init__(self, sequences: Iterable[Sequence[str]], items: Iterable[str] = ()) -> None:
        """Count the items; of equally popular ones, the one with the smaller id comes first."""
        counts = Counter(item for sequence in sequences for item in sequence)
        counts.update(dict.fromkeys(items, 0))
        self.order = sorted(counts, key=lambda item: (-counts[item], item))

    def recommend(
        self, sequence: Sequence[str], k: int = 10, *, exclude_seen: bool = True
    ) -> list[str]:
        """The ``k`` most popular items, without those of the sequence unless told otherwise."""
        seen = set(sequence) if exclude_seen else set()
        return list(islice((item for item in self.order if item not in seen), k))


class SequentialRecommender:
    """Recommends what a user may want next, given what they had before, oldest first.

    Example:
        >>> recommender = SequentialRecommender.train([["mug", "tea", "honey"]] * 20, epochs=20)
        >>> recommender.recommend(["mug", "tea"], k=1)
        ['honey']
    """

    def __init__(
        self, network: SASRec, numbers: Mapping[str, int], order: Sequence[str] = ()
    ) -> None:
        """Hold a trained network.

        Args:
            network: The network, which is put in evaluation mode.
            numbers: The network's number, from 1, of each item that may be recommended.
            order: Item ids by popularity, for sequences that hold no known item; the order of
                ``numbers`` if empty.

        Raises:
            TrimtabError: A number is not one of the network's items.
        """
        items = network.item_emb.num_embeddings - 1
        odd = next((id for id, number in numbers.items() if not 1 <= number <= items), None)
        if odd is not None or not numbers:
            raise TrimtabError(
                f"expected item numbers from 1 to {items}, as the network has; "
                + (f"got {numbers[odd]} for {odd!r}" if odd is not None else "got no items")
            )
        self.network = network.eval()
        self.numbers = dict(numbers)
        self.order = list(order) or list(numbers)
        self._ids = list(self.numbers)
        self._rows = torch.tensor([self.numbers[id] - 1 for id in self._ids])

    @classmethod
    def train(
        cls,
        sequences: Iterable[Sequence[str]],
        *,
        texts: Mapping[str, str] | None = None,
        epochs: int = 100,
        patience: int = 15,
        learning_rate: float = 1e-3,
        batch_size: int = 64,
        seed: int = 0,
        on_epoch: Callable[[Epoch], None] | None = None,
        **sizes: Any,
    ) -> "SequentialRecommender":
        """Train a network on sequences of item ids, oldest first.

        The last item of each sequence is held back; training ends when their mean NDCG has not
        risen for ``patience`` epochs, and the best epoch's weights are kept.

        The loss is the softmax over all items (over a sample of them in large catalogues) rather
        than the paper's binary one, and the item embeddings start as what sets the items' texts
        apart, if there are texts: a truncated singular value decomposition of their TF-IDF
        vectors, in the manner of Harte et al. (2023). Where purchases are few, that is most of
        what there is to know: in the bazaar, DOCNUMBERS.

        Args:
            sequences: Item ids, one sequence a user. Those of a single item teach nothing.
            texts: What is said of items, by id. Items of no sequence are recommended too if they
                are in here.
            epochs: At most so many.
            patience: Epochs without a better NDCG after which training ends.
            learning_rate: Adam's.
            batch_size: Sequences a step.
            seed: Fixes the result, on one machine.
            on_epoch: Called after each epoch, for progress.
            **sizes: ``max_length``, ``hidden``, ``blocks``, ``heads`` and ``dropout`` of `SASRec`.

        Raises:
            TrimtabError: No sequence has the three items that it takes to train on two and to
                hold one back.
        """
        sequences = [list(sequence) for sequence in sequences]
        longest = max(map(len, sequences), default=0)
        if longest < 3:
            raise TrimtabError(
                "expected at least one sequence of three items or more to train a recommender, "
                f"got {len(sequences)} of at most {longest}"
            )
        ids = sorted({*(texts or ()), *(item for sequence in sequences for item in sequence)})
        numbers = {item: number for number, item in enumerate(ids, start=1)}
        numbered = [[numbers[item] for item in sequence] for sequence in sequences]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = SASRec(len(ids), **sizes)
            if texts:
                _start_from_texts(network, [texts.get(item, "") for item in ids])
            optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.9, 0.98))
            held_back = [sequence for sequence in numbered if len(sequence) >= 3]
            shown = [s[:-1] if len(s) >= 3 else s for s in numbered]
            batches = _windows(shown, network.max_length)
            best, best_weights, waited = -1.0, network.state_dict(), 0
            for number in range(1, epochs + 1):
                loss = _train_epoch(network, optimizer, batches, batch_size)
                ndcg, recall = _evaluate(network, held_back)
                if on_epoch:
                    on_epoch(Epoch(number, loss, ndcg, recall))
                waited += 1
                if ndcg > best:
                    best, waited = ndcg, 0
                    best_weights = {k: v.clone() for k, v in network.state_dict().items()}
                if waited >= patience:
                    break
            network.load_state_dict(best_weights)
        return cls(network, numbers, Popularity(sequences, ids).order)

    @torch.inference_mode()
    def recommend(
        self, sequence: Sequence[str], k: int = 10, *, exclude_seen: bool = True
    ) -> list[str]:
        """The ids of the ``k`` items that fit best after the sequence, best first.

        Unknown ids are skipped. Without a known one, the most popular items are recommended.

        Args:
            sequence: Item ids, oldest first; the last ``max_length`` known ones count.
            k: How many; fewer come if there are not as many items.
            exclude_seen: Leave out the items of the sequence.

        Raises:
            TrimtabError: ``k`` is below 1.
        """
        if k < 1:
            raise TrimtabError(f"expected to recommend k >= 1 items, got {k}")
        seen = set(sequence) if exclude_seen else set()
        known = [self.numbers[id] for id in sequence if id in self.numbers]
        if not known:
            return list(islice((id for id in self.order if id not in seen), k))
        scores = self.network.scores(_padded([known], self.network.max_length))[0, self._rows]
        # More than k of the best, since some of them may be seen; stable, so that ties are too.
        best = torch.sort(scores, descending=True, stable=True).indices[: k + len(seen)]
        ranked = (self._ids[row] for row in best.tolist())
        return list(islice((id for id in ranked if id not in seen), k))

    def save(self, path: Path | str) -> None:
        """Write network and item ids as one safetensors file, whole or not at all."""
        metadata = {
            "trimtab.recommender": "1",
            "heads": str(self.network.heads),
            "numbers": json.dumps(self.numbers),
            "order": json.dumps(self.order),
        }
        with replacing(Path(path)) as temporary:
            save_file(self.network.state_dict(), temporary, metadata=metadata)

    @classmethod
    def load(cls, path: Path | str) -> "SequentialRecommender":
        """Read a recommender that ``save`` wrote.

        Raises:
            TrimtabError: There is no such file, or it is no recommender.
        """
        path = Path(path)
        if not path.is_file():
            raise TrimtabError(
                f"there is no recommender {path}; train one with SequentialRecommender.train"
            )
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                weights = {name: file.get_tensor(name) for name in file.keys()}
            network = SASRec.of_weights(weights, heads=int(metadata["heads"]))
            return cls(network, json.loads(metadata["numbers"]), json.loads(metadata["order"]))
        except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise TrimtabError(
                f"{path} is no recommender ({reason}); delete it and train one anew"
            ) from error


def recall_at_k(
    recommender: Recommender, examples: Iterable[tuple[Sequence[str], str]], k: int = 10
) -> float:
    """The share of examples whose target is among the ``k`` recommended items.

    Args:
        recommender: Anything with ``recommend``, such as `Popularity`.
        examples: Pairs of a sequence and the item that came after it.
        k: How many items are recommended.

    Returns:
        The share, from 0 to 1; NaN without examples.
    """
    hits = [target in recommender.recommend(sequence, k) for sequence, target in examples]
    return sum(hits) / len(hits) if hits else math.nan


# Catalogues up to this size are scored whole in training, larger ones by a sample.
_WHOLE = 20_000
_SAMPLE = 4_096


def _windows(sequences: Iterable[Sequence[int]], length: int) -> Tensor:
    """All sequences, cut from the end into pieces in which each step to the next item is once.

    Returns:
        Item numbers of shape ``(pieces, length + 1)``, padded on the left: inputs and, one
        further, targets.
    """
    pieces = []
    for sequence in sequences:
        for end in range(len(sequence), 1, -length):
            pieces.append(sequence[max(0, end - length - 1) : end])
    return _padded(pieces, length + 1)


def _padded(sequences: Sequence[Sequence[int]], length: int) -> Tensor:
    """The last ``length`` items of each sequence, padded with 0 on the left."""
    rows = [list(sequence[-length:]) for sequence in sequences]
    return torch.tensor([[0] * (length - len(row)) + row for row in rows])


def _train_epoch(
    network: SASRec, optimizer: torch.optim.Optimizer, windows: Tensor, batch_size: int
) -> float:
    """One pass over the windows in random order; the mean loss of its steps."""
    network.train()
    losses = []
    for rows in torch.randperm(len(windows)).split(batch_size):
        inputs, targets = windows[rows, :-1], windows[rows, 1:]
        # Where the input is padding, the first item would be predicted from nothing.
        real = inputs != 0
        loss = _loss(network, network(inputs)[real], targets[real])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


def _loss(network: SASRec, features: Tensor, targets: Tensor) -> Tensor:
    """Softmax cross-entropy of the next items; over a uniform sample if there are many items."""
    embeddings = network.item_emb.weight
    items = len(embeddings) - 1
    if items <= _WHOLE:
        return functional.cross_entropy(features @ embeddings[1:].T, targets - 1)
    sample = torch.randint(1, items + 1, (_SAMPLE,))
    # Each sampled item stands for this many, so that the sum is an estimate of the whole one.
    others = features @ embeddings[sample].T + math.log(items / _SAMPLE)
    others = others.masked_fill(sample == targets[:, None], -math.inf)
    right = (features * embeddings[targets]).sum(dim=-1, keepdim=True)
    return functional.cross_entropy(
        torch.cat([right, others], dim=1), torch.zeros_like(targets)
    )


@torch.inference_mode()
def _evaluate(network: SASRec, sequences: Sequence[Sequence[int]]) -> tuple[float, float]:
    """NDCG over all ranks and recall at 10 of each sequence's last item, given those before."""
    network.eval()
    gains, hits = [], []
    for start in range(0, len(sequences), 256):
        batch = sequences[start : start + 256]
        scores = network.scores(_padded([s[:-1] for s in batch], network.max_length))
        right = scores.gather(1, torch.tensor([[s[-1] - 1] for s in batch]))
        for row, sequence in enumerate(batch):
            scores[row, torch.tensor(sequence[:-1]) - 1] = -math.inf
        ranks = (scores > right).sum(dim=1)
        gains.append(1 / torch.log2(ranks + 2))
        hits.append((ranks < 10).float())
    return torch.cat(gains).mean().item(), torch.cat(hits).mean().item()


@torch.no_grad()
def _start_from_texts(network: SASRec, texts: Sequence[str]) -> None:
    """Make the item embeddings the texts' leading TF-IDF components, in the size they have."""
    embeddings = network.item_emb.weight
    components = _text_components([Counter(words(text)) for text in texts], embeddings.shape[1])
    spread = components.std()
    if spread > 0:
        embeddings[1:, : components.shape[1]] = components * (embeddings[1:].std() / spread)


def _text_components(texts: Sequence[Counter[str]], size: int) -> Tensor:
    """Centred coordinates of the texts on at most ``size`` components; ``(texts, components)``."""
    frequency = Counter(word for text in texts for word in text)
    shared = (word for word, count in sorted(frequency.items()) if count > 1)
    columns = {word: column for column, word in enumerate(shared)}
    places, values = [], []
    for row, text in enumerate(texts):
        weights = {
            columns[word]: (1 + math.log(count)) * math.log(len(texts) / frequency[word])
            for word, count in text.items()
            if word in columns
        }
        norm = math.sqrt(sum(weight**2 for weight in weights.values())) or 1.0
        places += [(row, column) for column in weights]
        values += [weight / norm for weight in weights.values()]
    if not values:
        return torch.zeros(len(texts), 0)
    matrix = torch.sparse_coo_tensor(
        torch.tensor(places).T,
        torch.tensor(values),
        (len(texts), len(columns)),
        check_invariants=True,
    ).coalesce()
    left, singular, _ = torch.svd_lowrank(matrix, q=min(size, *matrix.shape), niter=4)
    components = left * singular
    return components - components.mean(dim=0)
