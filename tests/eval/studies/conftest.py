"""A setting with four made-up writers and a tiny random model."""

from dataclasses import replace

import pytest

from trimtab.envs.texts.dataset import TextDataset
from trimtab.eval.methods.registry import parse_methods, with_controls
from trimtab.eval.studies.setting import Setting
from trimtab.eval.texts.plan import TextPlan


@pytest.fixture
def setting(byte_model, writers, tmp_path, trimtab_home):
    """Make a setting of some methods; scored by likelihood alone unless it generates."""
    pytest.importorskip("matplotlib", reason="figures need the plots extra")

    def make(methods="zero-shot,fints(depths=0.5)", *, tests=1, controls=False, **given):
        found = parse_methods(methods)
        study = TextPlan(
            task="headlines",
            methods=tuple(with_controls(found) if controls else found),
            **{"generate": False, "max_new_tokens": 5, **given},
        )
        users = tuple(
            replace(
                user,
                tests=tuple(
                    replace(test, id=f"{test.id}{n}", input=f"{test.input} {n}")
                    for test in user.tests
                    for n in range(tests)
                ),
            )
            for user in writers
        )
        return Setting(study, byte_model, TextDataset("letters", users), tmp_path / "study")

    return make
