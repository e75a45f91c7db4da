import json
import re
from collections import Counter
from pathlib import Path

import pytest

from trimtab.envs.importing import import_reviews
from trimtab.envs.importing.cleaning import words_of
from trimtab.envs.importing.splitting import Shares
from trimtab.envs.shop.personalwab import load_world
from trimtab.envs.shop.report import check_world
from trimtab.errors import TrimtabError

AMAZON = Path(__file__).parents[4] / "shared/data/amazon"


def made(tmp_path, write, records, **options):
    reviews, products = records
    report = import_reviews(
        tmp_path / "world",
        [write("reviews.jsonl", reviews)],
        [write("products.jsonl", products)],
        **options,
    )
    return report, load_world(tmp_path / "world")


def test_both_releases_make_a_sound_world(tmp_path, write, either):
    report, world = made(tmp_path, write, either)
    checked = check_world(tmp_path / "world")
    assert checked.ok, list(checked.lines())
    assert len(world.users) == report.users == 6
    assert checked.purchases == report.purchases == 60
    assert checked.tasks == report.tasks
    assert all(count for by_type in report.tasks.values() for count in by_type.values())
    assert report.layout in ("amazon-2018", "amazon-2023")


def test_records_come_out_clean(tmp_path, write, either):
    _, world = made(tmp_path, write, either)
    history = world.histories["U001"]
    assert history[0].review.text == "Number 0 of user 1 is rather wool's best"
    assert history[0].review.timestamp == (1_500_000_000 + 86_400) * 1000
    product = history[0].product_info
    assert product.title == "Hill & Dale Cotton Scarf (Pattern 7)"
    assert product.price == 17.0
    assert product.description == ["Made of cotton."]
    assert product.features == ["Warm"]
    assert product.details == {"Weight": "3 ounces"}
    assert world.products[product.parent_asin] == product


def test_products_as_the_release_of_2014_writes_them(tmp_path, write, log_2018):
    """Python literals, a line each: quotes of either kind, paths of categories, bare prices."""
    reviews, products = log_2018
    literals = [
        {
            "asin": p["asin"],
            "title": f'{p["title"]} for Dad\'s "den"' if n % 2 else f"Ann's {p['title']}",
            "price": float(p["price"][1:]),
            "imUrl": "http://images.example/1.jpg",
            "related": {"also_bought": [products[0]["asin"]], "buy_after_viewing": None},
            "salesRank": {"Clothing": n},
            "brand": p["brand"],
            "categories": [["Clothing", p["category"][1]], ["Gifts"]],
        }
        for n, p in enumerate(products)
    ]
    lines = [repr(literal) for literal in literals]
    assert lines[0].startswith("{'asin': ")
    rated = [{**r, "helpful": [0, 0], "reviewTime": "07 14, 2017"} for r in reviews]
    report, world = made(tmp_path, write, (rated, lines))
    assert (report.read["products"], report.users, report.purchases) == (60, 6, 60)
    assert not report.dropped
    assert check_world(tmp_path / "world").ok
    bought = world.histories["U001"][0].product_info
    assert bought.title == 'Hill & Dale Cotton Scarf (Pattern 7) for Dad\'s "den"'
    assert (bought.price, bought.store, bought.main_category) == (17.0, "Hill & Dale", "Clothing")
    assert (bought.model_extra or {})["categories"] == ["Clothing", "Scarves", "Gifts"]


def test_a_line_too_long_is_dropped_or_refuses_the_file(tmp_path, write, log_2018, monkeypatch):
    monkeypatch.setattr("trimtab.envs.files.reading._LONGEST_LINE", 100_000)
    reviews, products = log_2018
    long = json.dumps({**reviews[0], "reviewText": "x" * 500_000})
    report, _ = made(tmp_path, write, ([*reviews, long], products))
    assert report.dropped == {"lines that hold no record": 1}
    with pytest.raises(TrimtabError, match=r"1 of 1 lines hold no record"):
        import_reviews(tmp_path / "other", [write("long.jsonl", [long])])


def test_users_are_split_by_time(tmp_path, write, log_2018):
    _, world = made(tmp_path, write, log_2018)
    for user in world.users:
        trains = {t.timestamp for t in world.train if t.user_id == user}
        tests = {t.timestamp for t in world.test if t.user_id == user}
        times = [p.timestamp for p in world.histories[user]]
        assert sorted(trains | tests) == times[5:]
        assert len(trains) == 3
        assert max(trains) < min(tests)


def test_no_search_copies_a_title_and_no_request_tells_an_id(tmp_path, write, either):
    _, world = made(tmp_path, write, either)
    for task in [*world.train, *world.test]:
        words = f" {' '.join(words_of(task.task))} "
        product = task.target.product_info
        assert product.parent_asin.lower() not in task.task.lower()
        if task.type != "review":
            assert f" {' '.join(words_of(product.title))} " not in words


def test_a_brand_that_was_bought_before_is_in_the_history_alone(tmp_path, write, log_2018):
    _, world = made(tmp_path, write, log_2018)
    told = Counter()
    for task in [*world.train, *world.test]:
        if task.type == "search":
            store = task.target.product_info.store
            history = world.history(task.user_id, task.timestamp)
            bought = store in {purchase.product_info.store for purchase in history}
            told[bought, f"from {store}" in task.task] += 1
    assert told[True, True] == 0
    assert told[True, False] > 0


def test_a_seed_fixes_the_wording_and_the_choice_of_users(tmp_path, write, log_2018):
    def content(name, seed):
        reviews, products = (write(f"{n}.jsonl", log_2018[n]) for n in (0, 1))
        import_reviews(tmp_path / name, [reviews], [products], users=3, seed=seed)
        return {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}

    assert content("a", 1) == content("b", 1)
    assert content("a2", 2) != content("b2", 3)
    assert len(load_world(tmp_path / "a").users) == 3


def test_profiles_depend_on_nothing_later(tmp_path, write, log_2018):
    """The same log with another future: other words and ratings from the first task on."""
    reviews, products = log_2018
    _, world = made(tmp_path, write, (reviews, products))
    first = {
        user: min(t.timestamp for t in world.train if t.user_id == user) for user in world.users
    }
    later = [
        r
        if r["unixReviewTime"] * 1000 < first[r["reviewerID"]]
        else {**r, "overall": 1.0, "reviewText": "The price! The price is what I look at! " * 20}
        for r in reviews
    ]
    import_reviews(
        tmp_path / "other", [write("other.jsonl", later)], [write("products.jsonl", products)]
    )
    other = load_world(tmp_path / "other")
    assert other.histories != world.histories
    assert other.profiles == world.profiles
    searches = [[t.task for t in w.test if t.type == "search"] for w in (world, other)]
    assert searches[0] == searches[1]


def test_what_is_dropped_is_counted_by_reason(tmp_path, write, log_2018):
    reviews, products = log_2018
    first = reviews[0]
    products += [
        {**products[0], "title": "again"},
        {**products[1], "asin": "B-TWIN", "details": {}},
        {**products[2], "asin": "B-BARE", "title": "<br>"},
        {**products[3], "asin": ""},
        {**products[4], "asin": "B-DEAR", "price": "see cart"},
    ]
    products[1]["details"] = {}
    reviews += [
        first,
        {**first, "asin": "B000000005"},  # the same words at the same time
        {**first, "reviewText": "other words, same time and product"},
        {**first, "overall": None},
        {**first, "unixReviewTime": "soon"},
        {**first, "reviewerID": ""},
        {**first, "asin": "B-NONE", "unixReviewTime": 1},
        "not json",
        "[1, 2]",
        "",
    ]
    report, _ = made(tmp_path, write, (reviews, products))
    assert dict(report.dropped) == {
        "products that are there twice (same id)": 1,
        "products that are there twice (same in all but the id)": 1,
        "products without a title, or with page code for one": 1,
        "products without an id": 1,
        "reviews that are there twice (same user, product and time)": 2,
        "copies of a review at another product (same user, time and words)": 1,
        "reviews without a rating": 1,
        "reviews without a time, or with one that cannot be read": 1,
        "reviews without a user or a product": 1,
        "reviews of products that the products' file lacks": 1,
        "lines that hold no record": 2,
    }
    assert dict(report.mended) == {"prices that are none": 1}
    assert report.read == {"products": 65, "reviews": 67}
    assert report.purchases == 60
    kept = sum(report.read.values()) - sum(report.dropped.values()) + 2
    assert kept == report.purchases + 61  # all products but those dropped


def test_a_product_that_is_there_twice_is_one(tmp_path, write, log_2018):
    reviews, products = log_2018
    products[7]["details"] = {}
    products.append({**products[7], "asin": "B-TWIN"})
    moved = [{**r, "asin": "B-TWIN"} if r["asin"] == "B000000007" else r for r in reviews]
    _, world = made(tmp_path, write, (moved, products))
    assert "B-TWIN" not in world.products
    assert world.histories["U001"][0].asin == "B000000007"


def test_users_without_enough_are_left_out_and_counted(tmp_path, write, log_2018):
    reviews, products = log_2018
    few = [{**r, "reviewerID": "FEW"} for r in reviews[:4]]
    once = [{**r, "reviewerID": "ONCE", "unixReviewTime": 1_500_000_000} for r in reviews[20:30]]
    report, world = made(tmp_path, write, (reviews + few + once, products), users=4)
    assert dict(report.left_out) == {
        "users with fewer than 5 purchases": 1,
        "users with fewer than 3 different times of purchase": 1,
        "users beyond the number that was asked for": 2,
    }
    assert len(world.users) == 4
    assert not {"FEW", "ONCE"} & set(world.users)


def test_products_that_nobody_bought_are_written_if_wanted(tmp_path, write, log_2018):
    _, world = made(tmp_path, write, log_2018, users=1)
    assert set(world.products) == {p.asin for p in world.histories[world.users[0]]}
    reviews, products = (write(f"{n}.jsonl", log_2018[n]) for n in (0, 1))
    import_reviews(tmp_path / "all", [reviews], [products], users=1, all_products=True)
    assert len(load_world(tmp_path / "all").products) == 60


def test_tasks_are_capped_and_short_reviews_and_repeats_are_none(tmp_path, write, log_2018):
    reviews, products = log_2018
    for r in reviews:
        if r["reviewerID"] == "U000":
            r["reviewText"] = "Nice"
        if r["reviewerID"] == "U001":
            r["asin"] = "B000000009"
    report, world = made(tmp_path, write, (reviews, products), most_tasks=4)
    counts = Counter((t.user_id, t.type) for t in [*world.train, *world.test])
    assert not counts["U000", "review"]
    assert not counts["U001", "search"]
    assert not counts["U001", "recommend"]
    assert counts["U001", "review"] == 5
    assert max(Counter(t.user_id for t in world.train).values()) == 4
    assert report.no_task["review: reviews of fewer than 4 words"] == 5
    assert report.no_task["search and recommend: products that the user has bought before"] == 5
    assert report.no_task["train purchases beyond 4 tasks a user"] > 0


def test_what_is_bought_at_one_time_shares_a_segment_and_a_recommendation(
    tmp_path, write, log_2018
):
    reviews, products = log_2018
    for number, r in enumerate(reviews):
        r["unixReviewTime"] = 1_500_000_000 + (number % 10) // 4 * 86_400  # 4, 4 and 2 a day
    report, world = made(tmp_path, write, (reviews, products))
    assert check_world(tmp_path / "world").ok
    for user in world.users:
        recommended = [
            t.timestamp for t in world.train if (t.user_id, t.type) == (user, "recommend")
        ]
        assert len(recommended) == 1
        assert sum((t.user_id, t.type) == (user, "search") for t in world.train) == 4
        assert sum((t.user_id, t.type) == (user, "search") for t in world.test) == 2
    assert report.no_task["recommend: one a time, of several products bought at it"] == 6 * (3 + 1)


def test_csv_with_a_mapping_and_no_products_file(tmp_path, write, log_2018):
    reviews, products = log_2018
    titles = {p["asin"]: p["title"] for p in products}
    rows = ["customer;sku;what;stars;said;on"]
    for r in reviews:
        title = f'"{titles[r["asin"]]}"'
        row = (r["reviewerID"], f"SKU {r['asin']}", title, r["overall"])
        on = f"2018-01-{1 + r['unixReviewTime'] // 86_400 % 28:02} 12:{len(rows) % 60:02}"
        rows.append(";".join(str(v) for v in (*row, f'"{r["reviewText"]}; ""really"""', on)))
    report = import_reviews(
        tmp_path / "world",
        [write("shop.csv.gz", rows)],
        mapping={
            "user": "customer",
            "product": "sku",
            "title": "what",
            "rating": "stars",
            "text": "said",
            "time": "on",
        },
    )
    world = load_world(tmp_path / "world")
    assert (report.layout, report.users, report.purchases) == ("mapped", 6, 60)
    assert world.histories["U001"][0].review.text.endswith('best; "really"')
    assert all(asin.startswith("SKU-B") for asin in world.products)
    assert check_world(tmp_path / "world").ok


@pytest.mark.parametrize(
    ("reviews", "options", "told"),
    [
        (
            ["{}"],
            {},
            r"reviews.jsonl: of no known layout; .*; say which .* --map",
        ),
        (['{"who": 1}'], {"mapping": {"user": "whom"}}, r"no field 'whom'; .* has 'who'"),
        (['{"who": 1}'], {"mapping": {"wer": "who"}}, r"a mapping of user, .*; got 'wer'"),
        (['{"who": 1}'], {"mapping": {"user": "who"}}, "which of them is product, rating, time"),
        (["[", "{}]"], {}, r"one JSON object a line, got a JSON list"),
        (["nonsense"] * 30, {}, r"20 of 20 lines hold no record \(the first is line 1\)"),
        ([], {}, "is empty"),
        (None, {"users": -1}, "users >= 0"),
        (None, {"least_purchases": 2}, "at least 3 purchases"),
        (None, {"least_purchases": 50}, r"no user is left .*6 users with fewer than 50"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path, write, log_2018, reviews, options, told
):
    path = write("reviews.jsonl", log_2018[0] if reviews is None else reviews)
    products = write("products.jsonl", log_2018[1])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(TrimtabError, match=told) as error:
        import_reviews(tmp_path / "world", [path], [products], **options)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("shares", [(0, 0.2), (0.3, 0), (0.5, 0.5)])
def test_shares_leave_some_for_each(shares):
    with pytest.raises(TrimtabError, match="shares for training and test"):
        Shares(*shares)


def test_files_that_cannot_be_read_are_named(tmp_path, write, log_2018):
    products = write("products.jsonl", log_2018[1])
    with pytest.raises(TrimtabError, match=r"nowhere.jsonl: cannot be read \(No such file"):
        import_reviews(tmp_path / "world", [tmp_path / "nowhere.jsonl"], [products])
    whole = write("reviews.jsonl.gz", log_2018[0])
    whole.write_bytes(whole.read_bytes()[:500])
    with pytest.raises(TrimtabError, match=r"reviews.jsonl.gz: a broken gzip file"):
        import_reviews(tmp_path / "world", [whole], [products])
    latin = write("reviews.csv", [])
    latin.write_bytes(b"user,product\nJos\xe9,1\n")
    with pytest.raises(TrimtabError, match=r"reviews.csv: expected text in UTF-8"):
        import_reviews(tmp_path / "world", [latin], [products], mapping={"user": "user"})
    with pytest.raises(TrimtabError, match="expected at least one file of reviews"):
        import_reviews(tmp_path / "world", [])


def test_reviews_alone_do_not_tell_what_the_products_are(tmp_path, write, log_2023):
    path = write("reviews.jsonl", log_2023[0])
    with pytest.raises(TrimtabError, match=r"give the products' file with --products, or map"):
        import_reviews(tmp_path / "world", [path])


def test_a_folder_with_something_in_it_is_left_alone(tmp_path, write, log_2018):
    reviews, products = (write(f"{n}.jsonl", log_2018[n]) for n in (0, 1))
    (tmp_path / "empty").mkdir()
    import_reviews(tmp_path / "empty", [reviews], [products])
    before = {path: path.read_bytes() for path in (tmp_path / "empty").iterdir()}
    with pytest.raises(TrimtabError, match="is there already; give a new or an empty folder"):
        import_reviews(tmp_path / "empty", [reviews], [products])
    assert {path: path.read_bytes() for path in (tmp_path / "empty").iterdir()} == before


def test_parts_hold_what_one_file_would(tmp_path, write, log_2018, monkeypatch):
    made(tmp_path, write, log_2018)
    monkeypatch.setattr("trimtab.envs.importing.writing._USERS_PER_PART", 4)
    monkeypatch.setattr("trimtab.envs.importing.writing._PRODUCTS_PER_PART", 25)
    reviews, products = (write(f"{n}.jsonl", log_2018[n]) for n in (0, 1))
    import_reviews(tmp_path / "parts", [reviews], [products])
    names = {path.name for path in (tmp_path / "parts").iterdir()}
    assert {"user_history_part_2.json", "all_products_part_2.json"} < names
    assert load_world(tmp_path / "parts").fingerprint == load_world(tmp_path / "world").fingerprint


def test_progress_reaches_the_end_of_every_file(tmp_path, write, log_2018):
    said = {}
    made(tmp_path, write, log_2018, progress=lambda *told: said.update({told[0]: told[1:]}))
    assert set(said) == {"products.jsonl", "reviews.jsonl", "sorting", "users"}
    assert all(done == total for done, total in said.values())


def test_real_gift_cards(tmp_path):
    if not AMAZON.is_dir():
        pytest.skip(f"no {AMAZON}")
    report = import_reviews(
        tmp_path / "gifts", [AMAZON / "Gift_Cards_5.json"], [AMAZON / "meta_Gift_Cards.json"]
    )
    checked = check_world(tmp_path / "gifts")
    assert checked.ok, list(checked.lines())
    assert report.read == {"products": 1547, "reviews": 2972}
    assert report.users > 150
    text = "".join(path.read_text() for path in (tmp_path / "gifts").iterdir())
    assert not re.search(r"<(?:br|div|span|a |img)|&(?:amp|#39|gt);", text)
    world = load_world(tmp_path / "gifts")
    prices = [p.price for p in world.products.values() if p.price is not None]
    assert len(prices) > 50
    assert min(prices) > 0
    assert json.loads((tmp_path / "gifts/user_profiles.json").read_text()).keys() == set(
        world.users
    )
