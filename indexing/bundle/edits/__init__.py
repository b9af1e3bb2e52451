"""Changes of a bundle: items are added, replaced, deleted, and attributes updated.

On the way of an added item: `edit.add` encodes it and writes a batch (`bundle.change_log`), CURRENT names the batch
(`bundle.current`), and whoever loads the bundle searches it beside the index (`indexing.index.delta`).
"""
