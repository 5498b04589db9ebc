"""Recurrent networks with an external memory of millions of words that train on an ordinary CPU.

:mod:`sparsam.torch` has SAM, SDNC, DAM, NTM and DNC as modules that stand where ``torch.nn.LSTM`` stood, and a sparse
memory for a controller of your own. It asks for PyTorch. What is here does not: the same networks on NumPy arrays.

- :class:`Network`: parameters; ``forward``, ``infer``, ``trace``, ``save``, ``load``, ``load_state``.
- :class:`Tape`: the backward pass of one call.
- :class:`State`: controllers and memories, from one call to the next, or to a file.
- :class:`Trace`: what the memories did at every step.
- :func:`load_run`: the network of a run of the command ``sparsam``, with its configuration, data and metrics.

Example:
    >>> import numpy as np
    >>> from sparsam import Network
    >>> network = Network("sam", input_size=3, hidden_size=20, output_size=2)
    >>> output, state = network.infer(np.zeros((7, 1, 3), np.float32))
    >>> output.shape
    (7, 1, 2)
"""

from importlib.metadata import version

from sparsam._core import State
from sparsam._network import Gradients, Network, Tape, Trace
from sparsam._run import Run, load_run

__version__ = version("sparsam")

__all__ = ["Gradients", "Network", "Run", "State", "Tape", "Trace", "__version__", "load_run"]
