"""What may be wrong with a board: others may write to its file, cut it, or put another one in its place."""


class Damaged(Exception):
    """What lies on the board makes no sense."""


class Lost(Exception):
    """This is no longer the board that others use, or it is no longer whole."""
