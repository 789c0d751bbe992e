"""Why a command was not carried out."""


class Refusal(Exception):
    """The command was not carried out; the text says why and what to do."""
