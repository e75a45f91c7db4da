from trimtab.tools.docstring import read_docstring


def test_description_ends_at_the_first_section():
    text = """Find products.

    By words, and by price.

    Args:
        query: What to look for.

    Returns:
        Nothing.
    """
    assert read_docstring(text).description == "Find products.\n\nBy words, and by price."


def test_arguments_may_have_types_and_go_on_over_lines():
    text = """Find products.

        Args:
            query (str, optional): What to look for,
                in words: any words.
            limit: How many.

            *rest: The rest.

        Raises:
            ValueError: Not an argument.
        """
    assert read_docstring(text).arguments == {
        "query": "What to look for, in words: any words.",
        "limit": "How many.",
        "rest": "The rest.",
    }


def test_a_function_without_words_has_none():
    assert read_docstring(None) == ("", {})
    assert read_docstring("Do it.") == ("Do it.", {})
    assert read_docstring("Args:\n    x: One.") == ("", {"x": "One."})
