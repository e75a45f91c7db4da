"""Ways to personalize, compared on your own users' texts.

python examples/own_texts.py [MODEL]
"""

import json
import sys
import tempfile
from pathlib import Path

from trimtab.eval import evaluate, opened
from trimtab.eval.texts.plan import make_plan

# One record a line; see docs/text-tasks.md for the fields that there may be.
ASKED = ["coming tonight?", "shall I bring bread?", "did it rain?", "seen my keys?", "all well?"]
ANSWERS = {
    "ann": ["on my way!!", "yes!! the dark one", "so much!!", "no!! sorry", "all well!!"],
    "bob": ["I shall be there.", "Please do.", "It did not.", "I have not.", "It is, thank you."],
    "eve": ["hm, maybe...", "well... ok", "a bit...", "which ones...", "kind of..."],
}


def main(name: str = "qwen2.5-coder-0.5b-instruct") -> dict[str, float]:
    """Compare three methods by the likelihood of what each user wrote, and print the means."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "texts.jsonl"
        records = [
            {"user": user, "input": f"Reply: {asked}", "output": answer, "time": time}
            for user, answers in ANSWERS.items()
            for time, (asked, answer) in enumerate(zip(ASKED, answers, strict=True), 1)
        ]
        data.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
        plan = make_plan(
            {
                "task": "texts",
                "data": str(data),
                "model": name,
                "methods": "zero-shot,rag,fints(contrast=context)",
                "generate": False,  # likelihoods need no answers
            }
        )
        with opened(plan, cache=Path(folder) / "cache") as task:
            run = evaluate(task, plan.methods, Path(folder) / "run")
        means = {
            score.method: score.estimate.mean
            for score in run.standings.scores
            if score.metric == "log-likelihood"
        }
    for method, mean in means.items():
        print(f"{method:36} {mean:.3f} nats a token")
    return means


if __name__ == "__main__":
    main(*sys.argv[1:])
