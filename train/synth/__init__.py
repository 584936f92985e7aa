# SPDX-License-Identifier: Apache-2.0
"""Rendered heads: subjects, sequences and a ray caster that writes them in Pandora's layout."""
