# SPDX-License-Identifier: Apache-2.0
"""Slow, plain definitions in float64 that the fast code is held against."""
