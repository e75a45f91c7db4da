"""Evaluation: methods compared on the same tasks, with intervals over users."""

import lazy_loader

_attached, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

_INSTEAD = {
    "ARMS": "shop_methods()",
    "Arm": "Named, a method and its label",
    "ScoredEpisode": "Record, with the episode in its detail",
    "ShopRun": "EvalRun",
    "ShopStudy": "ShopTask",
    "Study": "TextPlan",
    "choose_arms": "shop_methods",
    "make_study": "make_plan",
    "play_shop": "evaluate(ShopTask(...), shop_methods(), folder)",
    "run_bfcl": "evaluate(trimtab.eval.calls.CallTask(...), trimtab.eval.calls.call_methods(), "
    "folder)",
    "run_shop": "evaluate(ShopTask(...), shop_methods(), folder)",
    "run_study": "evaluate(TextTask(...), plan.methods, folder)",
    "score_episode": "episode_scores",
}
"""What stands in the place of public names of the release before this one."""


def __getattr__(name: str) -> object:
    """A public name, loaded when it is first asked for.

    Raises:
        ImportError: A name of the release before this one; the message says what to use.
        AttributeError: No name of this package.
    """
    if name in _INSTEAD:
        raise ImportError(f"{__name__}.{name} is gone: use {_INSTEAD[name]}")
    return _attached(name)
