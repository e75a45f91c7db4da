from .delta import delta_study as delta_study
from .finding import Finding as Finding
from .heterogeneous import heterogeneous_study as heterogeneous_study
from .latency import latency_study as latency_study
from .layers import layers_study as layers_study
from .setting import Setting as Setting
from .sparse import sparse_study as sparse_study
