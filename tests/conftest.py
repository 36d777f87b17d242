"""Makes the property tests repeatable: the same examples on every machine, unless `make search` looks for new ones."""

from hypothesis import settings

settings.register_profile("repeat", max_examples=200, derandomize=True, database=None, deadline=None)
settings.register_profile("search", max_examples=5000, deadline=None, print_blob=True)
settings.load_profile("repeat")
