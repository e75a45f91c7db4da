from .items import SpectrumItem as SpectrumItem
from .items import ToolSpectrum as ToolSpectrum
from .items import load_toolspectrum as load_toolspectrum
