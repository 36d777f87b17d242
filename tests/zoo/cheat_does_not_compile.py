# Tries: what happens when the script is no Python program.
# Ends: crashed, SyntaxError: 'return' outside function
# ruff: noqa: F706
from experiments import harness

run = harness.connect()
return run
