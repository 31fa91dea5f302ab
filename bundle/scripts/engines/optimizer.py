# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Adam without the import of PyTorch's compiler."""

from __future__ import annotations

import inspect
from typing import Any

import torch

__all__ = ["Adam"]


class Adam(torch.optim.Adam):
    """``torch.optim.Adam`` that starts a second earlier: arguments, numbers and state are the same.

    PyTorch wraps the methods of its optimisers so that ``torch.compile`` passes them by. The wrappers import
    ``torch._dynamo``, the compiler, at their first call. Here the same methods are called without their wrappers. To
    compile the optimiser's step too, use PyTorch's class.
    """

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)
    _step = inspect.unwrap(torch.optim.Adam.step)

    def step(self, closure: Any = None) -> Any:
        """Take one step down the gradients, see ``torch.optim.Adam.step``."""
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return self._step(closure)
