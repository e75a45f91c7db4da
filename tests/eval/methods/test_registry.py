"""Methods by name and option: what is read, what is refused, and what comes with what."""

import dataclasses
import json

import pytest

from trimtab.errors import TrimtabError
from trimtab.eval.methods.fints import Fints
from trimtab.eval.methods.method import Method
from trimtab.eval.methods.rag import Rag
from trimtab.eval.methods.registry import (
    METHODS,
    Named,
    get_method,
    methods_of,
    parse_methods,
    with_controls,
)
from trimtab.steering import SteeringSettings


def test_a_line_of_methods_with_options():
    found = parse_methods(
        "zero-shot, rag(k=5,by=bm25) ,fints(sites=attn+mlp,depths=0.6+0.72,strength=2)"
    )
    assert [named.label for named in found] == [
        "zero-shot",
        "rag(k=5,by=bm25)",
        "fints(sites=attn+mlp,depths=0.6+0.72,strength=2)",
    ]
    assert found[1].method == Rag(k=5, by="bm25")
    assert found[2].method == Fints(sites=("attn", "mlp"), depths=(0.6, 0.72), strength=2.0)
    assert parse_methods("fints(sites=block,relative=true)")[0].method == Fints(
        sites=("block",), relative=True
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rga", "did you mean 'rag'"),
        ("fints-othre", "did you mean 'fints-other'"),
        ("rag-other", "nothing of rag is a user.s own to replace"),
        ("fints(strenght=2)", "no option 'strenght'; did you mean 'strength'"),
        ("zero-shot(k=1)", "it has no options"),
        ("fints(sites=mod)", "'sites'.*'attn', 'mid', 'mlp' or 'block'; got 'mod'"),
        ("fints(strength=strong)", "'strength'.*got 'strong'"),
        ("rag(k=0)", "k of at least 1, got 0"),
        ("cos(strength=1e999)", "finite"),
        ("pag(tokens=0)", "at least 1"),
        ("fints(context=-1)", "context of at least 0"),
        ("rag(k)", "OPTION=VALUE, got 'k'"),
        ("rag(k=1", "brackets"),
        ("rag)k=1(", "brackets"),
        ("rag (k=1) x", "cannot read"),
        ("rag,rag", "asked for twice"),
        (" , ", "at least one method"),
        ("rag(settings=x.toml)", "takes no steering settings"),
        ("fints(settings=/no/such.toml)", "no settings file"),
    ],
)
def test_bad_lines_are_refused_in_one_line(line, said):
    with pytest.raises(TrimtabError, match=said) as refused:
        parse_methods(line)
    assert "\n" not in str(refused.value)


def test_steered_methods_bring_their_controls_and_others_none():
    found = with_controls(parse_methods("zero-shot,rag,pag,cos,stylevector,fints(k=2),two-part"))
    assert [(named.label, named.control_of) for named in found] == [
        ("zero-shot", ""),
        ("rag", ""),
        ("pag", ""),
        ("cos", ""),
        ("stylevector", ""),
        ("stylevector-other", "stylevector"),
        ("stylevector-population", "stylevector"),
        ("fints(k=2)", ""),
        ("fints(k=2)-other", "fints(k=2)"),
        ("fints(k=2)-population", "fints(k=2)"),
        ("two-part", ""),
        ("two-part-other", "two-part"),
        ("two-part-population", "two-part"),
    ]
    assert found[8].method == Fints(k=2, whose="other")
    assert found[9].method == Fints(k=2, whose="population")


def test_what_has_nothing_of_the_users_own_needs_no_controls():
    found = with_controls(parse_methods("two-part(personal=0),fints(collective=1)"))
    assert [named.label for named in found] == ["two-part(personal=0)", "fints(collective=1)"]


def test_a_control_that_was_asked_for_is_not_there_twice():
    found = with_controls(parse_methods("fints-other,fints"))
    assert [(n.label, n.control_of) for n in found] == [
        ("fints-other", "fints"),
        ("fints", ""),
        ("fints-population", "fints"),
    ]
    assert with_controls(parse_methods("fints-other"))[0].control_of == ""


@pytest.mark.parametrize("name", METHODS)
def test_every_method_comes_back_from_its_plain_data(name):
    made = METHODS[name]()
    assert isinstance(made, Method) and dataclasses.is_dataclass(made)
    for named in with_controls([Named(name, made)]):
        plain = json.loads(json.dumps({named.label: named.to_json()}))
        assert methods_of(plain) == [named]


def test_tables_name_the_method_unless_the_label_does():
    found = methods_of({"rag": {"k": 7}, "gentle": {"method": "fints", "strength": 0.5}})
    assert found == [Named("rag", Rag(k=7)), Named("gentle", Fints(strength=0.5))]
    with pytest.raises(TrimtabError, match="expected a table of options, got 3"):
        methods_of({"rag": 3})


def test_a_settings_file_is_under_the_options_of_steered_methods_alone(tmp_path):
    path = tmp_path / "s.toml"
    SteeringSettings(sites=("block",), strength=3.0, k=2).save(path)
    found = parse_methods("zero-shot,rag,fints(k=9),two-part", settings=path)
    assert found[1].method == Rag()
    assert found[2].method == Fints(sites=("block",), strength=3.0, k=9)
    # What tells two-part from fints stays as it is where the file leaves it open.
    two = found[3].method
    assert (two.collective, two.personal, two.contrast) == (2.0, 1.0, "any")
    assert two.sites == ("block",)
    SteeringSettings(collective=1.5, personal=0.5).save(path)
    assert get_method("two-part", settings=path).collective == 1.5
    assert get_method("fints", settings=path).personal == 0.5
