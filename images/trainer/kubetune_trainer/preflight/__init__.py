"""What can be found out about a run before a GPU is taken: on a CPU, in seconds, without the weights, without torch.

``command`` is the edge (files, store, tracker); everything it asks is answered by pure modules: ``shapes`` (the model
from its headers), ``estimate`` and ``fit`` (memory), ``duration`` and ``cards`` (time, cost), ``profile`` (the data),
``summary`` (what is said).
"""
