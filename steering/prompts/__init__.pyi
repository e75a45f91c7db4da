from .render import render as render
from .render import tokenize as tokenize
