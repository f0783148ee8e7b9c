"""Workers: a framework in a process and an environment of its own, behind a pipe."""

from tframex_nb.frameworks.worker.pool import WorkerPool
from tframex_nb.frameworks.worker.source import AdapterSource
from tframex_nb.frameworks.worker.spec import Subject, WorkerInfo, WorkerSpec

__all__ = ["AdapterSource", "Subject", "WorkerInfo", "WorkerPool", "WorkerSpec"]
