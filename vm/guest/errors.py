"""What can go wrong when a guest is built."""


class GuestError(Exception):
    """The kernels cannot be made into a guest; the message names the function or symbol."""
