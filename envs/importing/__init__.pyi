from .importer import ImportReport as ImportReport
from .importer import import_reviews as import_reviews
from .layouts import Layout as Layout
from .layouts import find_layout as find_layout
