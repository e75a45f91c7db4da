from trimtab.envs.texts.keyphrases import keyphrases

TEXT = (
    "We study source localization with a graph filter. The graph filter is cheap, and source "
    "localization on hydrophone recordings clearly gains from the graph filter."
)


def test_phrases_that_come_again_are_best_and_stand_in_the_text_s_order():
    assert keyphrases(TEXT, 2) == ["source localization", "graph filter"]
    assert keyphrases(TEXT, 3) == ["source localization", "graph filter", "hydrophone recordings"]


def test_no_more_than_there_are():
    assert keyphrases("", 5) == []
    assert keyphrases("It is so.", 5) == []
    assert keyphrases("Sparse solvers.", 5) == ["sparse solvers"]


def test_punctuation_function_words_and_adverbs_part_phrases():
    assert keyphrases("robust control (grid codes)", 5) == ["robust control", "grid codes"]
    assert keyphrases("robust and quickly tuned control", 5) == ["robust", "tuned control"]
