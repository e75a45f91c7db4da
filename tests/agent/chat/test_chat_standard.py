"""LangChain's own standard tests of a chat model, on a tiny model of random weights."""

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.unit_tests import ChatModelUnitTests

from trimtab.agent.chat.chat_model import SteeredChatModel


class TestStandard(ChatModelUnitTests):
    @pytest.fixture(autouse=True)
    def _given(self, tiny):
        type(self).tiny = tiny

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return SteeredChatModel

    @property
    def chat_model_params(self):
        return {"model": self.tiny}

    @property
    def standard_chat_model_params(self):
        # No network: no timeout and no retries.
        return {"temperature": 0, "max_tokens": 100, "stop": []}
