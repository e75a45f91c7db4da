from .generate import GazetteSize as GazetteSize
from .generate import abstract_style as abstract_style
from .generate import abstracts as abstracts
from .generate import headline_style as headline_style
from .generate import headlines as headlines
from .generate import save_gazette as save_gazette
