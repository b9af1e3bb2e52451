"""Ids in paths, which are any text: also one with slashes and line breaks."""

from starlette.convertors import Convertor, register_url_convertor


class IdConvertor(Convertor[str]):
    """Takes all that is left of a path."""

    regex = "(?s:.+)"

    def convert(self, value: str) -> str:
        """Give it as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Give it as it is."""
        return value


register_url_convertor("id", IdConvertor())
ITEM_ID, USER_ID = "{item_id:id}", "{user_id:id}"
