# SPDX-License-Identifier: Apache-2.0
"""Measurements; run one with python -m benchmarks.<name> from a checkout."""
