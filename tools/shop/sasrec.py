"""SASRec: the network that looks at a sequence of items and expects the next."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import TrimtabError


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

    Raises:
        TrimtabError: ``hidden`` is no multiple of ``heads``.
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
        super().__init__()
        if hidden % heads:
            raise TrimtabError(f"expected hidden as a multiple of {heads} heads, got {hidden}")
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
            states = (
                query + attention(query, states, states, attn_mask=future, need_weights=False)[0]
            )
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
