"""The running application: the loop, its stages, and the command line."""
