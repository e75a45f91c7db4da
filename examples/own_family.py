"""A model family of your own: say where its layers are, and it is steered.

python examples/own_family.py [MODEL]
"""

import sys

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from trimtab.steering import FAMILIES, Family, Point, Request, SteeredModel, Steering
from trimtab.steering.vectors.steering_vectors import SteeringVectors
from trimtab.steering.weights.known import model_path


class OwlConfig(LlamaConfig):
    """A family that nobody else knows."""

    model_type = "owl"


class OwlForCausalLM(LlamaForCausalLM):
    """Its model; here the layers are Llama's."""

    config_class = OwlConfig


# From the model to its layers, and in a layer the modules whose outputs attention and the MLP add
# to the residual stream. Most families need no such line: they are recognised.
FAMILIES["owl"] = Family(layers="model.layers", attention="self_attn", mlp="mlp")


def main(name: str = "qwen2.5-coder-0.5b-instruct") -> list[str]:
    """Steer a small random model of the family, and print what it says with and without."""
    tokenizer = AutoTokenizer.from_pretrained(model_path(name))
    torch.manual_seed(0)
    config = OwlConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
    )
    model = SteeredModel(OwlForCausalLM(config), tokenizer, name="owl")
    ask = [{"role": "user", "content": "Hello"}]
    steering = Steering(SteeringVectors({Point(2, "mid"): 9 * torch.randn(64)}))
    answers = model.generate([Request(ask), Request(ask, steering=steering)], max_new_tokens=5)
    texts = [answer.text for answer in answers]
    print(*texts, sep="\n")
    return texts


if __name__ == "__main__":
    main(*sys.argv[1:])
