"""Work for libraries that cannot live in the studio's own environment: in one of their own, in a process beside.

`ask` gives a task to that process and passes its events on. What a task is made of (`bridges.keras`,
`bridges.litert_torch`) runs over there and imports of the studio only `core`.
"""
