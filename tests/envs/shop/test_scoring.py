import pytest

from trimtab.envs.shop.scoring import rank_score, result_score, right_tool

TEN = [f"B{n:09}" for n in range(10)]


def never(left, right):
    raise AssertionError("texts are compared for reviews only")


def test_right_tools_are_those_of_the_benchmark():
    assert [right_tool(kind) for kind in ("search", "recommend", "review")] == [
        "search_product_by_query",
        "get_recommendations_by_history",
        "add_product_review",
    ]


@pytest.mark.parametrize(
    ("results", "target", "score"),
    [
        (TEN, TEN[0], 1.0),
        (TEN, TEN[3], 0.7),
        (TEN, TEN[9], 0.1),
        (TEN[:4], TEN[1], 0.75),
        (["A"], "A", 1.0),
        (TEN, "A", 0.0),
        ([], "A", 0.0),
    ],
)
def test_rank_score(results, target, score):
    assert rank_score(results, target) == pytest.approx(score)


@pytest.mark.parametrize("kind", ["search", "recommend"])
def test_results_are_scored_by_rank(task, kind):
    wanted = task("t", "ann", 1, kind=kind, asin=TEN[2])
    assert result_score(wanted, {"query": "x"}, TEN, never) == pytest.approx(0.8)
    assert result_score(wanted, {"query": "x"}, [], never) == 0.0
    assert result_score(wanted, {"query": "x"}, None, never) == 0.0


def test_a_part_of_an_asin_is_not_the_product(task):
    assert result_score(task("t", "ann", 1, asin="B0"), {}, ["B01", "XB0"], never) == 0.0


def test_reviews_are_scored_by_similarity_to_the_users_own(task):
    compared = []

    def similarity(left, right):
        compared.append((left, right))
        return -0.25

    wanted = task("t", "ann", 1, kind="review")
    assert result_score(wanted, {"review": "so good"}, "so good", similarity) == -0.25
    assert compared == [("fine", "so good")]
    assert result_score(wanted, {"review": ""}, None, never) == 0.0
    assert result_score(wanted, {}, None, never) == 0.0
