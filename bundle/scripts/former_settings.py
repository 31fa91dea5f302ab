# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Settings of former versions, which are refused with their present names."""

from __future__ import annotations

__all__ = ["FORMER_SETTINGS", "FORMER_VALUES"]

FORMER_SETTINGS = {
    "validation_fraction": "all_datalists#validation_fraction",
    "test_fraction": "all_datalists#test_fraction",
    "guided": "network_def#guided",
    "head": "network_def#head",
    "cue_channels": "network_def#cue_channels",
    "code_channels": "network_def#code_channels",
    "network_settings": "network_def",
    "discriminator_channels": "discriminator_def#channels",
    "discriminator_layers": "discriminator_def#num_layers_d",
    "discriminator_detail_levels": "discriminator_def#detail_levels",
    "discriminator_detail_gain": "discriminator_def#detail_gain",
    "d_learning_rate": "d_optimizer#lr",
    "betas": "optimizer#betas",
    "wavelet": "loss#wavelet#wavelet",
    "wavelet_level_weights": "loss#wavelet#level_weights",
    "wavelet_stationary": "loss#wavelet#stationary",
    "wavelet_relative": "loss#wavelet#relative",
    "kl_free_nats": "loss#kl_free_nats",
    "r1_weight": "train#trainer#r1_weight",
    "max_grad_norm": "train#trainer#max_grad_norm",
    "ema_momentum": "ema#momentum",
    "num_workers": "train#dataloader#num_workers",
    "cache_rate": "train#dataset#cache_rate",
    "early_stop_patience": "early_stop#patience",
    "panel_cases": "panels#max_cases",
    "tracking_uri": "tracker#tracking_uri",
    "experiment_name": "tracker#experiment_name",
    "run_name": "tracker#run_name",
    "task_weight": "bilevel#settings#task_weight",
    "transfer_weight": "bilevel#settings#frozen_task_weight",
    "frozen_task_weight": "bilevel#settings#frozen_task_weight",
    "clean_readers": "bilevel#settings#frozen_task_networks",
    "frozen_task_networks": "bilevel#settings#frozen_task_networks",
    "clean_reader_steps": "bilevel#settings#frozen_task_steps",
    "frozen_task_steps": "bilevel#settings#frozen_task_steps",
    "clean_reader_batch_size": "bilevel#settings#frozen_task_batch_size",
    "frozen_task_batch_size": "bilevel#settings#frozen_task_batch_size",
    "warmup_objective": "bilevel#settings#warmup_objective",
    "inner_steps": "bilevel#settings#inner_steps",
    "finite_difference_epsilon": "bilevel#settings#finite_difference_epsilon",
    "neumann_terms": "bilevel#settings#neumann_terms",
    "damping": "bilevel#settings#damping",
    "neumann_step_size": "bilevel#settings#neumann_step_size",
    "guide_weight": "bilevel#settings#guide_weight",
    "downstream_batch_size": "bilevel#settings#lower_batch_size",
    "upper_batch_size": "bilevel#settings#upper_batch_size",
    "downstream_judge_layers": "bilevel#feature_layers",
    "downstream_channels": "downstream_def#channels",
    "downstream_learning_rate": "downstream_optimizer#lr",
    "downstream_loss": "task_def#loss_function",
    "downstream_norm": "downstream_def#norm",
    "downstream_blocks": "downstream_def#block_config",
    "downstream_init_features": "downstream_def#init_features",
    "downstream_growth_rate": "downstream_def#growth_rate",
    "multi_label": "task_def#multi_label",
    "checkpoint_file": "checkpoint#path",
    "model_description": "model_spec",
}
"""Settings of former versions, and the path that each has now."""

FORMER_VALUES = {("warmup_objective", "transfer"): "frozen_task"}
"""Values of former versions, by the last part of the setting's path, and the present ones."""
