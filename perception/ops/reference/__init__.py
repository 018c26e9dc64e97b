"""The definitions of the ops in plain PyTorch; the compiled kernels are held to them.

They take the arguments of the dispatcher's ops (`torch.ops.perception`), which the public functions
in `perception.ops` have checked and brought into one form.
"""

from perception.ops.reference.rezoom import rezoom, rezoom_backward
from perception.ops.reference.suppression import nms

__all__ = ["nms", "rezoom", "rezoom_backward"]
