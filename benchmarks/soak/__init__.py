"""A compose federation under random faults for hours, its ledger and memory looked at throughout.

`docker/soak.sh` brings the federation up and starts `python -m benchmarks.soak`;
`python -m benchmarks.soak.page EVENTS` writes benchmarks/soak.md from what that wrote down.
"""
