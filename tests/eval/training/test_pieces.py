"""PER-PCS's gates and how pieces become one LoRA, against the formulas by hand."""

import torch

from trimtab.eval.training.examples import Example
from trimtab.eval.training.loop import train
from trimtab.eval.training.options import TrainingOptions
from trimtab.eval.training.passes import mean_inputs
from trimtab.eval.training.pieces import GateStack
from trimtab.eval.training.trainable import LoraStack, lora_shapes


def test_pieces_by_hand(language_model, examples):
    some = examples([4, 4, 4])
    shapes = lora_shapes(language_model, ["q_proj"])
    stack = LoraStack(shapes, rank=2, alpha=6, owners=3)
    train(language_model, stack, some, TrainingOptions(learning_rate=1e-2, patience=0))
    gates = GateStack(stack)
    train(language_model, gates, some, TrainingOptions(learning_rate=1e-1, patience=0))
    place = next(iter(shapes))
    down, up = (stack.numbers[f"{place}.{side}"].detach() for side in ("down", "up"))
    gate = gates.numbers[str(place)].detach()
    assert gate.abs().max() > 0.1
    x = torch.randn(3, 5, 32)
    owners = torch.tensor([2, 0, 1])
    found = gates.delta(place, x, owners)
    for row, owner in enumerate(owners.tolist()):
        open_ = torch.sigmoid(x[row] @ gate[owner])[:, None]
        expected = open_ * 3 * (x[row] @ down[owner].T) @ up[owner].T
        torch.testing.assert_close(found[row].detach(), expected)

    mean = torch.randn(32)
    stage = gates.put_together({name: mean for name in shapes}, count=2)
    term = stage.modules[place]
    likeness = torch.tensor([torch.cosine_similarity(g, mean, dim=0) for g in gate])
    best, chosen = likeness.topk(2)
    weights = best.softmax(0)
    expected = sum(3 * w * up[n] @ down[n] for w, n in zip(weights, chosen, strict=True))
    torch.testing.assert_close(term.scale * term.up @ term.down, expected, atol=1e-6, rtol=1e-4)


def test_mean_inputs_are_those_of_real_tokens(language_model, examples):
    some: list[Example] = examples([3, 2])
    shapes = lora_shapes(language_model, ["v_proj"])
    means = mean_inputs(language_model, some, list(shapes), 2, token_budget=40)
    place = list(shapes)[2]
    seen = []
    module = language_model.parts.layers[2].block.get_submodule(place.name)
    handle = module.register_forward_hook(lambda m, args, out: seen.append(args[0][0]))
    for example in some:
        with torch.no_grad():
            language_model.hf(torch.tensor([example.tokens]))
    handle.remove()
    for owner in range(2):
        own = [s for s, e in zip(seen, some, strict=True) if e.owner == owner]
        torch.testing.assert_close(
            means[owner][place], torch.cat(own).mean(0), atol=1e-5, rtol=1e-4
        )
