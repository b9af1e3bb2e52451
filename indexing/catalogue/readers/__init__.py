"""Where items come from: each reader gives record batches, as often as asked.

A new format is a class with the methods of `readers.base.Reader`; `Catalogue.open` chooses one by the suffix of a file.
"""
