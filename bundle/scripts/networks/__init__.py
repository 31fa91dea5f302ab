# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Networks of HQG-Net that MONAI does not have."""

from .compiling import compiled
from .definitions import build_network, describe_definition, network_from_description
from .discriminator import DetailDiscriminator
from .enhancer import Enhancer, EnhancerEncoder, FullResolution
from .functional import at_least_float32, call_with, reinitialized, with_frozen_weights
from .guidance_encoder import GuidanceEncoder, GuidanceFeatures, pad_to_multiple
from .haar_split import HaarSplit
from .hqgnet import GuidedEnhancement, HQGNet, draw_cues, mean_and_deviation
from .joint_norm import JointNorm
from .layer_features import LayerFeatures
from .stand_alone import OnnxSignature, StandAlone
from .variational_norm import AdaLIN, CuelessNorm, VariationalInformationNorm
from .wavelet_transform import WaveletTransform

__all__ = [
    "AdaLIN",
    "CuelessNorm",
    "DetailDiscriminator",
    "Enhancer",
    "EnhancerEncoder",
    "FullResolution",
    "GuidanceEncoder",
    "GuidanceFeatures",
    "GuidedEnhancement",
    "HQGNet",
    "HaarSplit",
    "JointNorm",
    "LayerFeatures",
    "OnnxSignature",
    "StandAlone",
    "VariationalInformationNorm",
    "WaveletTransform",
    "at_least_float32",
    "build_network",
    "call_with",
    "compiled",
    "describe_definition",
    "draw_cues",
    "mean_and_deviation",
    "network_from_description",
    "pad_to_multiple",
    "reinitialized",
    "with_frozen_weights",
]
