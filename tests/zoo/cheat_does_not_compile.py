# Tries: what happens when the script is no Python program.
# ruff: noqa: F706
from experiments import harness

run = harness.connect()
return run
