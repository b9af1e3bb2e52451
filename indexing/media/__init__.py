"""From the bytes of files to arrays, in processes of their own: what decodes a stranger's file may die of it."""
