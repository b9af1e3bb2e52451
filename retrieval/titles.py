"""What items are called, for people."""

from indexing.bundle import Bundle


def titles_of(bundle: Bundle) -> dict[str, str]:
    """Give each item's first text field, to show beside its id."""
    text_columns = bundle.manifest.columns.get("text") or ()
    if not text_columns:
        return {}
    titles = bundle.attributes.column(text_columns[0]).to_pylist()
    return {item_id: str(title or "") for item_id, title in zip(bundle.items, titles, strict=True)}
