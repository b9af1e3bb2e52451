"""The folder that serves: generations, the one that is current, and changes since it was built."""
