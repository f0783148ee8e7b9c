"""``python -m tframex_nb`` is ``tframex-nb``."""

import sys

from tframex_nb.cli import main

__all__: list[str] = []

sys.exit(main())
