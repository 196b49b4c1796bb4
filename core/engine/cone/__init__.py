"""The cone of a centre neuron: the positions of each operation that the neuron depends on, and the pass over them."""

from streamscope.core.engine.cone.cone import Cone, Read
from streamscope.core.engine.cone.folding import FoldedNetwork, fold_network
from streamscope.core.engine.cone.intervals import Interval

__all__ = ["Cone", "FoldedNetwork", "Interval", "Read", "fold_network"]
