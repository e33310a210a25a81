"""The network: PyTorch and Brevitas. Only this package imports torch."""

import warnings

# brevitas tells at every import that an optional package, which nothing here uses, is missing
warnings.filterwarnings("ignore", message="fast_hadamard_transform package not found")
