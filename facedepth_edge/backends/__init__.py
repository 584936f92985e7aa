# SPDX-License-Identifier: Apache-2.0
"""What can run the network: base.py names the contract and the table, one file a backend."""
