"""``trimtab tools check`` as a person runs it."""

import pytest

from trimtab import cli

FILE = '''
def weather(city: str, unit: str = "C") -> str:
    """Tell the [bold]weather[/bold].

    Args:
        city: Where.
    """
    return f"sunny in {city}"

examples = [
    {"tool": "weather", "arguments": {"city": "Oslo"}},
    {"tool": "weather", "arguments": {"town": "Oslo"}, "valid": False},
]
'''


@pytest.fixture
def check(tmp_path, capsys):
    def run(text, *options):
        path = tmp_path / "mine.py"
        path.write_text(text)
        code = cli.execute(["tools", "check", str(path), *options])
        return code, *capsys.readouterr()

    return run


def test_what_a_model_sees_is_shown(check):
    code, out, err = check(FILE)
    assert (code, err) == (0, "")
    assert out.splitlines()[:3] == [
        "weather(city, unit?)",
        "  Tell the [bold]weather[/bold].",
        "  note: no description of unit",
    ]
    assert '   ok  weather {"city": "Oslo"}' in out
    assert "expected the required 'city', got 'town'" in out
    assert out.endswith("1 tool, 2 examples\n")
    assert "maxLength" not in out and "sunny" not in out


def test_schemas_and_results_on_request(check):
    _, out, _ = check(FILE, "--schemas", "--call")
    assert '"maxLength": 512' in out and "sunny in Oslo" in out


def test_an_example_that_comes_out_otherwise_is_an_error(check):
    code, out, err = check(FILE.replace('"city": "Oslo"}', '"city": 5}'))
    assert code == 2
    assert "WRONG  weather" in out and "city: expected a string, got 5" in out
    assert err == "error: mine.py: 1 example did not come out as said; see above\n"


def test_a_tool_that_cannot_be_constrained_is_an_error(check):
    code, out, err = check(
        "tools = [{'title': 'odd', 'type': 'object', 'properties': {'a': {'not': {}}},"
        "'required': ['a']}]"
    )
    assert code == 2
    assert "cannot be constrained" in out and err.count("\n") == 1


def test_a_broken_file_is_one_line(check, capsys):
    code, out, err = check("def f(")
    assert (code, out) == (2, "")
    assert err.startswith("error: cannot run mine.py, line 1: SyntaxError")
    assert cli.execute(["tools"]) == 0
    assert "check" in capsys.readouterr().out


@pytest.mark.model
def test_the_prompt_of_a_real_model(check, smollm2_path):
    _, out, _ = check(FILE, "--prompt", "--model", "smollm2-135m-instruct")
    assert '"name": "weather"' in out and "of them for the tools" in out
