"""Ranks that are children of this process, for one verb: where there is no script to start again.

In a notebook, under pytest, after `python -c` the ranks are forked from this process, or spawned
with a copy of what the verb needs. This process runs none of it. What they made of the module, the
callbacks and the trainer comes back from rank zero.
"""
