"""The folder (NUDGE_DATA) that holds everything written at run time."""

import os
import tempfile
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def prepare(data_dir: Path) -> Path:
    """Create the data folder and the folders in it, and make sure that it can be written.

    Only its owner may list it. Root's may also be passed through, because the embedded database runs
    under a user of its own when the product runs as root.

    Raises:
        ImproperlyConfigured: one sentence that names the folder and the reason.
    """
    mode = 0o711 if os.geteuid() == 0 else 0o700
    try:
        data_dir.mkdir(mode=mode, parents=True, exist_ok=True)
        for name in ("run", "logs", "static"):
            (data_dir / name).mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=data_dir / "run") as probe:
            probe.write(b"x" * 4096)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ImproperlyConfigured(f"The data folder {data_dir} cannot be written: {reason}.") from error
    return data_dir
