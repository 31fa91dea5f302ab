# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Networks of HQG-Net that MONAI does not have."""

from scripts.networks.definitions import build_network, describe_definition, network_from_description
from scripts.networks.discriminator import DetailDiscriminator
from scripts.networks.enhancer import Enhancer, EnhancerEncoder, pad_to_multiple
from scripts.networks.functional import call_with, reinitialized
from scripts.networks.guidance_encoder import GuidanceEncoder, GuidanceFeatures
from scripts.networks.hqgnet import GuidedEnhancement, HQGNet, draw_cues, mean_and_deviation
from scripts.networks.joint_norm import JointNorm
from scripts.networks.layer_features import LayerFeatures
from scripts.networks.variational_norm import AdaLIN, VariationalInformationNorm
from scripts.networks.wavelet import WaveletTransform

__all__ = [
    "AdaLIN",
    "DetailDiscriminator",
    "Enhancer",
    "EnhancerEncoder",
    "GuidanceEncoder",
    "GuidanceFeatures",
    "GuidedEnhancement",
    "HQGNet",
    "JointNorm",
    "LayerFeatures",
    "VariationalInformationNorm",
    "WaveletTransform",
    "build_network",
    "call_with",
    "describe_definition",
    "draw_cues",
    "mean_and_deviation",
    "network_from_description",
    "pad_to_multiple",
    "reinitialized",
]
