"""Steering vectors in the forms that other tools read, so that others can check what they do.

*GGUF control vector*, read by llama.cpp (``--control-vector``) and what is made of it: a tensor
``direction.L`` for each layer L, added to what the layer leaves in the residual stream. Vectors at
``block`` are just that, and those at ``mlp`` come to the same, since the MLP's output is what is
added last. What is added after attention goes through the MLP first, which the form cannot say; nor
can it say anything of the first layer.

*lm-evaluation-harness' steering file* (``--model steered``): a module's name, and what is added to
its output. One point a file: of several, the harness adds the last one's vector everywhere.

Both add at every position, of the prompt too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import TrimtabError
from ...files import replacing
from .pushes import place_of
from .steering_vectors import Point, Site, SteeringVectors

if TYPE_CHECKING:
    from ..decoder.language_model import LanguageModel

ARCHITECTURE = "controlvector"
"""What a GGUF file of control vectors says of itself."""


def save_gguf(
    path: Path | str,
    vectors: SteeringVectors,
    *,
    model_type: str,
    strength: float | Mapping[Site, float] = 1.0,
) -> None:
    """Write a GGUF control vector, to be added at scale 1.

    Args:
        path: The file.
        vectors: At ``block`` or ``mlp``, of the second layer or later ones.
        model_type: The model family, as its configuration names it; whoever reads the file compares
            it with the model's.
        strength: What the vectors are multiplied by.

    Raises:
        TrimtabError: A vector that the form cannot hold.
    """
    from gguf import GGUFWriter

    directions = {layer: vector.numpy() for layer, vector in residual(vectors, strength).items()}
    with replacing(Path(path)) as temporary:
        writer = GGUFWriter(temporary, ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", model_type)
        writer.add_int32(f"{ARCHITECTURE}.layer_count", len(directions))
        for layer, vector in sorted(directions.items()):
            writer.add_tensor(f"direction.{layer}", vector)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def residual(
    vectors: SteeringVectors, strength: float | Mapping[Site, float] = 1.0
) -> dict[int, Tensor]:
    """What is added to the residual stream after each layer, ``(hidden_size,)``, float32.

    Raises:
        TrimtabError: A site before the MLP, or the first layer.
    """
    directions: dict[int, Tensor] = {}
    for point, vector in vectors.values.items():
        if point.site not in ("block", "mlp") or point.layer < 1:
            raise TrimtabError(
                "a control vector is added after a layer from the second on: expected vectors at "
                f"block or mlp of layer 1 or later, got {tuple(point)}; build dictionaries with "
                "sites block or mlp"
            )
        added = _factor(strength, point.site) * vector.float()
        directions[point.layer] = (
            directions[point.layer] + added if point.layer in directions else added
        )
    return directions


def save_lm_eval(
    path: Path | str,
    vectors: SteeringVectors,
    model: LanguageModel,
    *,
    strength: float | Mapping[Site, float] = 1.0,
) -> str:
    """Write a steering file of lm-evaluation-harness, ``steer_path`` of its model ``steered``.

    Args:
        path: The file, which has to end in ``.pt``.
        vectors: At one point.
        model: The model whose module is steered.
        strength: The coefficient.

    Returns:
        The module's name.

    Raises:
        TrimtabError: Several points, or another ending.
    """
    path = Path(path)
    if path.suffix not in (".pt", ".pth"):
        raise TrimtabError(f"lm-evaluation-harness reads a .pt file; got {path.name!r}")
    if len(vectors.points) != 1:
        raise TrimtabError(
            "lm-evaluation-harness adds one vector: expected vectors at one layer and site, got "
            f"{[tuple(point) for point in vectors.points]}"
        )
    [(point, vector)] = vectors.values.items()
    scale = place_of(model.parts, point).scale
    hookpoint = module_name(model, point)
    steered = {
        "action": "add",
        "steering_coefficient": _factor(strength, point.site) / scale,
        "steering_vector": vector.float().clone(),
        "bias": None,
    }
    with replacing(path) as temporary:
        torch.save({hookpoint: steered}, temporary)
    return hookpoint


def module_name(model: LanguageModel, point: Point) -> str:
    """The module whose output a point's vector is added to, named from the model's base."""
    names = {id(module): name for name, module in model.hf.base_model.named_modules()}
    return names[id(place_of(model.parts, point).module)]


def _factor(strength: float | Mapping[Site, float], site: Site) -> float:
    return strength.get(site, 0.0) if isinstance(strength, Mapping) else strength
