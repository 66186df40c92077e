"""``python -m models [NAME or GROUP ...]``: brings models into the user's cache.

``run.sh`` does this before it starts the application. It says nothing when all are there, and imports little,
to cost a warm start little.
"""

import sys

from models import registry
from models.errors import UserError


def main(words: list[str]) -> int:
    """Returns the exit code: 0, 2 when the models cannot be had, 130 when interrupted."""
    try:
        registry.pull(registry.choose(words))
    except UserError as error:
        sys.stderr.write(f"morphcam: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("morphcam: interrupted; nothing half-written is left\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
