# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from .enhance import Enhance
from .segment import Segment

__all__ = ["Enhance", "Segment"]
