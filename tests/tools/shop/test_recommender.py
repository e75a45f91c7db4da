import json
import math
import random

import pytest
import torch
from safetensors.torch import load_file

from trimtab.errors import TrimtabError
from trimtab.tools.shop import recommender as module
from trimtab.tools.shop.recommender import (
    Epoch,
    Popularity,
    SASRec,
    SequentialRecommender,
)

ITEMS = 40


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small networks are fastest on one thread, and tests may share the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def recall_at_k(recommender, examples, k):
    """The share of examples whose target is among the ``k`` recommended items."""
    return sum(target in recommender.recommend(seen, k) for seen, target in examples) / len(
        examples
    )


def cycle(start: int, length: int) -> list[str]:
    """Items that follow one another by a rule: each is followed by the one 7 further."""
    return [f"item{(start + 7 * step) % ITEMS:02}" for step in range(length)]


SEQUENCES = [cycle(start, 8) for start in range(ITEMS)]
SMALL = {"max_length": 10, "hidden": 16, "learning_rate": 1e-2, "dropout": 0.1}


@pytest.fixture(scope="module")
def trained() -> SequentialRecommender:
    return SequentialRecommender.train(SEQUENCES, epochs=40, **SMALL)


def network(**sizes) -> SASRec:
    torch.manual_seed(0)
    return SASRec(20, **{"max_length": 6, "hidden": 8, **sizes}).eval()


class TestSASRec:
    def test_later_items_do_not_change_what_was_expected_before(self):
        net = network()
        sequence = torch.tensor([[0, 0, 3, 9, 4, 7]])
        before = net(sequence)
        for position in range(2, 6):
            other = sequence.clone()
            other[0, position] = 15
            changed = (net(other) - before).abs().amax(dim=-1)[0] > 1e-6
            assert not changed[:position].any()
            assert changed[position]

    def test_rows_of_a_batch_are_apart(self):
        net = network()
        batch = torch.tensor([[0, 0, 3, 9, 4, 7], [1, 2, 3, 4, 5, 6]])
        torch.testing.assert_close(net(batch)[0], net(batch[:1])[0])
        assert net.scores(batch).shape == (2, 20)

    def test_features_are_those_of_the_paper_s_formulas(self):
        """Against the layers written out: scaled embeddings, causal attention, feed-forward."""
        net = network(blocks=1, heads=2)
        weights = net.state_dict()

        def norm(x, name):
            spread = (x.var(-1, keepdim=True, unbiased=False) + 1e-8).sqrt()
            x = (x - x.mean(-1, keepdim=True)) / spread
            return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

        sequence = [0, 5, 11, 2]
        item, position = weights["item_emb.weight"], weights["pos_emb.weight"]
        x = torch.stack(
            [item[i] * 8**0.5 + position[p + 1 if i else 0] for p, i in enumerate(sequence)]
        )
        query = norm(x, "attention_layernorms.0")
        wq, wk, wv = weights["attention_layers.0.in_proj_weight"].chunk(3)
        bq, bk, bv = weights["attention_layers.0.in_proj_bias"].chunk(3)
        q, k, v = query @ wq.T + bq, x @ wk.T + bk, x @ wv.T + bv
        heads = []
        for head in (slice(0, 4), slice(4, 8)):
            energy = q[:, head] @ k[:, head].T / 2.0
            energy[torch.triu(torch.ones(4, 4), 1) > 0] = -math.inf
            heads.append(energy.softmax(-1) @ v[:, head])
        mixed = torch.cat(heads, -1) @ weights["attention_layers.0.out_proj.weight"].T
        x = norm(
            query + mixed + weights["attention_layers.0.out_proj.bias"], "forward_layernorms.0"
        )
        first, second = (weights[f"forward_layers.0.conv{n}.weight"][:, :, 0] for n in (1, 2))
        inner = (x @ first.T + weights["forward_layers.0.conv1.bias"]).relu()
        x = x + inner @ second.T + weights["forward_layers.0.conv2.bias"]
        expected = norm(x, "last_layernorm")
        torch.testing.assert_close(net(torch.tensor([sequence]))[0], expected)

    def test_names_and_shapes_are_those_of_published_checkpoints(self):
        net = SASRec(30, max_length=30, hidden=50, blocks=2, heads=2)
        shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
        expected = {"item_emb.weight": (31, 50), "pos_emb.weight": (31, 50)}
        for block in "01":
            expected |= {
                f"attention_layernorms.{block}.weight": (50,),
                f"attention_layernorms.{block}.bias": (50,),
                f"attention_layers.{block}.in_proj_weight": (150, 50),
                f"attention_layers.{block}.in_proj_bias": (150,),
                f"attention_layers.{block}.out_proj.weight": (50, 50),
                f"attention_layers.{block}.out_proj.bias": (50,),
                f"forward_layernorms.{block}.weight": (50,),
                f"forward_layernorms.{block}.bias": (50,),
                f"forward_layers.{block}.conv1.weight": (50, 50, 1),
                f"forward_layers.{block}.conv1.bias": (50,),
                f"forward_layers.{block}.conv2.weight": (50, 50, 1),
                f"forward_layers.{block}.conv2.bias": (50,),
            }
        expected |= {"last_layernorm.weight": (50,), "last_layernorm.bias": (50,)}
        assert shapes == expected
        again = SASRec.of_weights(net.state_dict(), heads=2).eval()
        sequence = torch.tensor([[0, 3, 4]])
        torch.testing.assert_close(again(sequence), net.eval()(sequence))


class TestTraining:
    def test_a_rule_is_learnt_and_popularity_is_beaten(self, trained):
        examples = [(cycle(start, 4), cycle(start, 5)[-1]) for start in range(ITEMS)]
        assert recall_at_k(trained, examples, k=1) > 0.9
        assert recall_at_k(Popularity(SEQUENCES), examples, k=1) <= 0.1

    def test_a_seed_fixes_the_result_and_nothing_else_is_touched(self):
        torch.manual_seed(5)
        state = torch.get_rng_state()
        first, second, other = (
            SequentialRecommender.train(SEQUENCES, epochs=2, seed=seed, **SMALL)
            for seed in (1, 1, 2)
        )
        assert torch.equal(torch.get_rng_state(), state)
        one, same = first.network.state_dict(), second.network.state_dict()
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert not torch.equal(one["item_emb.weight"], other.network.item_emb.weight)

    def test_it_stops_when_the_held_back_items_gain_nothing_and_keeps_the_best(self):
        rng = random.Random(0)
        noise = [rng.sample([f"i{n}" for n in range(30)], 6) for _ in range(20)]
        seen: list[Epoch] = []
        made = SequentialRecommender.train(
            noise, epochs=500, patience=4, on_epoch=seen.append, **SMALL
        )
        best = max(seen, key=lambda epoch: epoch.ndcg)
        assert [epoch.number for epoch in seen] == list(range(1, len(seen) + 1))
        assert len(seen) == best.number + 4 < 500
        examples = [(sequence[:-1], sequence[-1]) for sequence in noise]
        assert recall_at_k(made, examples, k=10) == pytest.approx(best.recall)

    def test_held_back_items_are_not_trained_on(self):
        ends = [f"end{number % 5}" for number in range(ITEMS)]
        one, other = (
            SequentialRecommender.train(
                [[*sequence, end] for sequence, end in zip(SEQUENCES, last, strict=True)],
                epochs=1,
                **SMALL,
            ).network.state_dict()
            for last in (ends, ends[1:] + ends[:1])
        )
        assert all(torch.equal(one[name], other[name]) for name in one)

    def test_a_large_catalogue_is_learnt_from_a_sample(self, monkeypatch):
        monkeypatch.setattr(module, "_WHOLE", 10)
        monkeypatch.setattr(module, "_SAMPLE", 20)
        made = SequentialRecommender.train(SEQUENCES, epochs=60, **SMALL)
        examples = [(cycle(start, 4), cycle(start, 5)[-1]) for start in range(ITEMS)]
        assert recall_at_k(made, examples, k=1) > 0.9

    def test_the_sampled_loss_estimates_the_whole_one(self, monkeypatch):
        torch.manual_seed(0)
        net = network()
        features, targets = torch.randn(50, 8), torch.randint(1, 21, (50,))
        bought = torch.arange(1, 21)
        scores = features @ net.item_emb.weight[1:].T
        whole = torch.nn.functional.cross_entropy(scores, targets - 1).item()
        assert module._loss(net, features, targets, bought).item() == pytest.approx(whole)
        monkeypatch.setattr(module, "_WHOLE", 10)
        monkeypatch.setattr(module, "_SAMPLE", 100_000)
        sampled = module._loss(net, features, targets, bought).item()
        assert sampled != whole
        assert sampled == pytest.approx(whole, rel=0.02)

    def test_items_that_nobody_bought_are_no_part_of_the_loss(self):
        net = network()
        features, targets = torch.randn(50, 8), torch.tensor([3, 5] * 25)
        before = module._loss(net, features, targets, torch.tensor([3, 4, 5]))
        with torch.no_grad():
            net.item_emb.weight[6] = 100.0
        after = module._loss(net, features, targets, torch.tensor([3, 4, 5]))
        assert torch.equal(before, after)

    def test_long_sequences_are_used_whole(self):
        windows = module._windows([[1, 2, 3, 4, 5, 6, 7, 8], [9, 10], [11]], 3)
        assert windows.tolist() == [
            [5, 6, 7, 8],
            [2, 3, 4, 5],
            [0, 0, 1, 2],
            [0, 0, 9, 10],
        ]

    def test_texts_tell_of_items_that_nobody_bought(self):
        # Each user stays with one kind of thing; half of each kind was never bought.
        rng = random.Random(0)
        kinds = ("lamp", "mug", "scarf", "tent")
        texts = {f"{kind}{n}": f"a {kind} called {kind}{n}" for kind in kinds for n in range(12)}
        bought = [rng.sample([f"{kinds[user % 4]}{n}" for n in range(6)], 5) for user in range(40)]
        made = SequentialRecommender.train(bought, texts=texts, epochs=20, **SMALL)
        assert set(made.numbers) == set(texts)
        for kind in kinds:
            had = [f"{kind}{n}" for n in range(6)]
            embeddings = made.network.item_emb.weight[[made.numbers[f"{kind}{n}"] for n in (7, 9)]]
            assert torch.equal(embeddings[0], embeddings[1])
            new = made.recommend(had, k=6)
            assert sorted(new) == sorted(f"{kind}{n}" for n in range(6, 12))
        without = SequentialRecommender.train(bought, epochs=20, **SMALL)
        assert "mug11" not in without.numbers

    def test_ranks_are_those_among_unseen_items_and_ties_and_nan_are_no_success(self):
        net = network()
        one = [3, 9, 4, 7]
        for target in range(1, 21):
            scores = net.scores(torch.tensor([[0, 0, *one]]))[0]
            above = [i for i in range(1, 21) if scores[i - 1] > scores[target - 1]]
            rank = len(set(above) - set(one))
            ndcg, recall = module._evaluate(net, [[*one, target]])
            assert ndcg == pytest.approx(1 / math.log2(rank + 2))
            assert recall == (rank < 10)
        with torch.no_grad():
            net.item_emb.weight.fill_(0.0)
        assert module._evaluate(net, [[*one, 8]])[0] == pytest.approx(1 / math.log2(17))
        with torch.no_grad():
            net.item_emb.weight.fill_(math.nan)
        assert module._evaluate(net, [[*one, 8]])[1] == 0.0

    def test_unbought_items_follow_what_became_of_similar_ones(self):
        torch.manual_seed(0)
        net = SASRec(400, hidden=8)
        components, rule = torch.randn(400, 4), torch.randn(4, 8)
        expected = components @ rule + 2.0
        bought = torch.arange(1, 401, 2)
        with torch.no_grad():
            net.item_emb.weight[bought] = expected[bought - 1]
        module._place_unbought(net, components, bought)
        torch.testing.assert_close(net.item_emb.weight[1:], expected, atol=0.1, rtol=0.0)
        assert torch.equal(net.item_emb.weight[bought], expected[bought - 1])
        assert not net.item_emb.weight[0].any()

    @pytest.mark.parametrize("sequences", [[], [[]], [["a", "b"], ["c"]]])
    def test_too_little_to_learn_from_is_refused(self, sequences):
        with pytest.raises(TrimtabError, match="three items"):
            SequentialRecommender.train(sequences)


class TestRecommend:
    def test_seen_items_are_left_out_unless_wanted(self, trained):
        sequence = cycle(0, 6)
        new = trained.recommend(sequence, k=20)
        assert len(new) == len(set(new)) == 20
        assert not set(new) & set(sequence)
        everything = trained.recommend(sequence, k=1000, exclude_seen=False)
        assert sorted(everything) == sorted(trained.numbers)
        assert [id for id in everything if id not in sequence][:20] == new
        assert len(trained.recommend(sequence, k=1000)) == ITEMS - 6

    def test_unknown_items_are_skipped(self, trained):
        assert trained.recommend(["x", *cycle(3, 4), "y"]) == trained.recommend(cycle(3, 4))

    def test_without_a_known_item_the_most_popular_come(self):
        made = SequentialRecommender.train(
            [["a", "b", "c"], ["d", "b", "c"], ["c", "e", "b"]], epochs=1
        )
        assert made.recommend([]) == ["b", "c", "a", "d", "e"]
        assert made.recommend(["x"], k=2) == ["b", "c"]

    def test_only_the_last_items_count(self, trained):
        assert trained.recommend([*cycle(5, 3), *cycle(20, 10)], exclude_seen=False) == (
            trained.recommend(cycle(20, 10), exclude_seen=False)
        )

    def test_no_results_are_refused(self, trained):
        with pytest.raises(TrimtabError, match="k >= 1"):
            trained.recommend(["a"], k=0)

    def test_items_may_be_part_of_the_network_s(self, trained):
        part = {id: number for id, number in trained.numbers.items() if number % 2}
        made = SequentialRecommender(trained.network, part)
        got = made.recommend(cycle(0, 3), k=1000)
        assert set(got) == set(part) - set(cycle(0, 3))
        assert made.recommend([]) == list(part)[:10]
        for numbers in ({"a": 0}, {"a": ITEMS + 1}, {}):
            with pytest.raises(TrimtabError, match=f"1 to {ITEMS}"):
                SequentialRecommender(trained.network, numbers)


class TestFiles:
    def test_saved_and_loaded_is_the_same(self, trained, tmp_path):
        path = tmp_path / "recommender.safetensors"
        trained.save(path)
        again = SequentialRecommender.load(path)
        for start in range(0, ITEMS, 7):
            assert again.recommend(cycle(start, 5)) == trained.recommend(cycle(start, 5))
        assert again.recommend([]) == trained.recommend([])
        assert load_file(path).keys() == trained.network.state_dict().keys()
        assert [file.name for file in tmp_path.iterdir()] == [path.name]

    def test_files_that_are_none_are_refused_in_one_line(self, trained, tmp_path):
        path = tmp_path / "recommender"
        with pytest.raises(TrimtabError, match="no recommender"):
            SequentialRecommender.load(path)
        trained.save(path)
        whole = path.read_bytes()
        header = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])
        assert header["__metadata__"]["heads"] == "2"
        broken = [b"", b"\x80\x04pickle", whole[:-10], whole.replace(b"pos_emb", b"pos_umb")]
        broken.append(whole.replace(b'"heads":"2"', b'"heads":"x"'))
        for content in broken:
            assert content != whole
            path.write_bytes(content)
            with pytest.raises(TrimtabError, match="train one anew") as caught:
                SequentialRecommender.load(path)
            assert "\n" not in str(caught.value)


def test_popularity_counts_and_breaks_ties_by_id():
    popularity = Popularity([["b", "a"], ["c", "b"]], items=["d", "a"])
    assert popularity.recommend([]) == ["b", "a", "c", "d"]
    assert popularity.recommend(["b"], k=2) == ["a", "c"]
    assert popularity.recommend(["b"], k=2, exclude_seen=False) == ["b", "a"]
