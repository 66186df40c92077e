"""The one error a user can cause."""


class UserError(Exception):
    """Something outside the program is not as it should be: an argument, a file, a device, the network.

    The message is one line: what is wrong, what was expected, what to do. The command line prints it on
    stderr and exits with code 2; ``--debug`` shows the traceback.
    """
