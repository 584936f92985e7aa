# SPDX-License-Identifier: Apache-2.0
"""A set of heads rendered by other means than the training set: the Anny body model, the Mitsuba path tracer."""
