"""What a run starts from: the shop's own tools, and those of a file."""

import pytest

from trimtab.errors import TrimtabError
from trimtab.eval.shop.opening import added_tools

TOOLS = '''
def search_product_by_query(query: str) -> list[str]:
    """Search another shop."""
    return [query]

def weather(city: str) -> str:
    """Tell the weather."""
    return city
'''


def test_a_files_tools_are_added_and_stand_in_for_those_of_their_names(shop, tmp_path):
    (tmp_path / "mine.py").write_text(TOOLS)
    names = shop.toolkit.names
    with added_tools(shop, tmp_path / "mine.py"):
        assert shop.toolkit.names == [*names, "weather"]
        assert shop.toolkit.spec(names[0]).description == "Search another shop."


def test_without_a_file_the_shop_keeps_its_own(shop):
    before = shop.toolkit
    with added_tools(shop, None):
        assert shop.toolkit is before


def test_a_file_that_cannot_be_used_is_told(shop, tmp_path):
    with (
        pytest.raises(TrimtabError, match="there is no file of tools"),
        added_tools(shop, tmp_path / "gone.py"),
    ):
        pass
