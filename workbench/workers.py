"""What all worker processes have in common: they end with the process that started them. No torch."""

import multiprocessing
import os
import signal
import threading
import time


def follow_parent() -> None:
    """In a worker process, as it starts: it ends with its parent, however that ended."""
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    multiprocessing.parent_process().join()
    training = signal.getsignal(signal.SIGTERM)  # its own handler, which saves the checkpoint after the step
    os.kill(os.getpid(), signal.SIGTERM)
    while signal.getsignal(signal.SIGTERM) is training:
        time.sleep(0.1)
    os._exit(1)
