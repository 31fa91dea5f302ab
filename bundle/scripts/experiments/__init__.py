# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Demonstration data and experiments. This package imports the rest, and nothing imports it.

Its modules are commands (``python -m scripts.experiments.demo``), and are imported by their own names.
"""
