"""A made-up paper, put together from claims: the text of a ``paper.toml``."""

from __future__ import annotations

HEAD = """
title = "A paper"
authors = "Somebody"
year = 2026
url = "https://example.org/paper"
version_read = "the only one"
spec = "this file"
claims_in_spec = {claims_in_spec}

[groups]
pair = ["org/a", "org/b"]
"""

# Claims without their first line and number, which `paper` writes.
SUM = """
statement = "one and one is two"
where = "section 1"
definition = "sums/1"
kind = "S"

[[claim.expect]]
scope = "synthetic"
values = 2.0
tolerance = { kind = "within", abs = 0.1, because = "float64 sums" }
"""

TABLE = """
statement = "the table says 3 and 5"
where = "table 1"
definition = "totals/1"
kind = "F"
cost = 100

[[claim.expect]]
scope = "data"
models = ["@pair"]
values = { "org/a" = 3, "org/b" = 5 }
tolerance = { kind = "exact", because = "integers" }
"""

UNCHECKED = """
statement = "nothing checks this"
where = "section 9"
definition = "none/1"
kind = "W"
not_automated = "needs a statistic that does not exist yet"
"""


def paper(*claims: str, claims_in_spec: int) -> str:
    """The paper with these claims, which get the ids C01, C02, … in their order."""
    numbered = (f'[[claim]]\nid = "C{number:02}"{claim}' for number, claim in enumerate(claims, start=1))
    return "\n".join((HEAD.format(claims_in_spec=claims_in_spec), *numbered))
