"""Marks texts of Python code for the catalogue of messages; templates have `_()`."""


def marked(text: str) -> str:
    """The text as it is: it is translated where it is shown."""
    return text
