"""Steering in plain transformers: around ``generate``, a forward pass, or code of your own.

python examples/plain_transformers.py [MODEL]
"""

import sys

from transformers import AutoModelForCausalLM, AutoTokenizer

from trimtab.steering import ContrastPair, Exchange, SteeredModel, SteeringDictionary
from trimtab.steering.weights.known import model_path


def main(name: str = "qwen2.5-coder-0.5b-instruct") -> list[str]:
    """Let transformers write two rows at once, one steered and one not, and print both."""
    path = model_path(name)
    tokenizer = AutoTokenizer.from_pretrained(path)
    hf = AutoModelForCausalLM.from_pretrained(path, dtype="float32")
    model = SteeredModel(hf, tokenizer)  # hooks, no copy: `hf` stays what it is

    ask = [{"role": "user", "content": "Describe the sea."}]
    pair = ContrastPair(
        sample_id="note-1",
        request="Describe the sea.",
        positive=Exchange(ask, "Grey. Cold. Mine."),
        negative=Exchange(ask, "The sea is a vast body of salt water."),
    )
    dictionary = SteeringDictionary.build(
        model, [pair], user_id="ada", sites=("mid",), layers=[model.layer_at(0.72)]
    )
    steering = dictionary.select("Describe the rain.", k=1, strength=1.5)

    inputs = tokenizer.apply_chat_template(
        [[{"role": "user", "content": "Describe the rain."}]] * 2,
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    with model.steered([steering, None]):
        ids = hf.generate(**inputs, max_new_tokens=24, do_sample=False)
    new = ids[:, inputs["input_ids"].shape[1] :]
    texts = [str(text) for text in tokenizer.batch_decode(new, skip_special_tokens=True)]
    print(*texts, sep="\n---\n")
    return texts


if __name__ == "__main__":
    main(*sys.argv[1:])
