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


def test_numpy_s_sections_are_read():
    text = """Find products.

    Parameters
    ----------
    query : str, optional
        What to look for,
        in words.
    low, high : int
        A price.

    Returns
    -------
    list
        Products.
    """
    assert read_docstring(text) == (
        "Find products.",
        {"query": "What to look for, in words.", "low": "A price.", "high": "A price."},
    )


def test_sphinx_s_fields_are_read_and_roles_are_not_fields():
    text = """Find products.

    :meth:`buy` buys them.

    :param query: What to look for,
        in words.
    :param int limit: How many.
    :returns: Products.
    """
    assert read_docstring(text) == (
        "Find products.\n\n:meth:`buy` buys them.",
        {"query": "What to look for, in words.", "limit": "How many."},
    )


def test_a_careless_section_costs_no_more_than_itself():
    careless = "Do it.\n\nArgs:\n    x: One.\n\nRaises:\n    If it fails.\n\nNote:\n    Slow."
    assert read_docstring(careless) == ("Do it.", {"x": "One."})
    assert read_docstring("Do it.\n\nArgs:\n    nothing of note") == ("Do it.", {})
    assert read_docstring("Do it.\n\nArgs:") == ("Do it.", {})
    attributes = "Do it.\n\nAttributes\n----------\nx : int\n    No argument."
    assert read_docstring(attributes) == ("Do it.", {})
