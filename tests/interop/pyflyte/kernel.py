"""Drives a Jupyter kernel, told by lines of JSON on standard input; runs where `jupyter_client` is installed.

`{"do": "run", "code": ...}` runs a cell and answers, once it is over, what it wrote and how it ended. `interrupt` presses the
button, `end` stops the kernel.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from jupyter_client.manager import start_new_kernel  # type: ignore[import-not-found]  # only in the kernel's environment


def main() -> None:
    """Obey until told to end."""
    manager, client = start_new_kernel(kernel_name="python3", startup_timeout=60)
    threads = []
    try:
        for line in sys.stdin:
            told = json.loads(line)
            if told["do"] == "end":
                break
            if told["do"] == "interrupt":
                manager.interrupt_kernel()
            else:
                threads.append(threading.Thread(target=_run, args=(client, told["code"]), daemon=True))
                threads[-1].start()
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=False)


def _run(client: Any, code: str) -> None:
    written = {"stdout": "", "stderr": ""}

    def note(message: Any) -> None:
        content = message["content"]
        if message["msg_type"] == "stream":
            written[content["name"]] += content["text"]

    reply = client.execute_interactive(code, output_hook=note, allow_stdin=False, timeout=120)["content"]
    print(json.dumps({**written, "end": reply.get("ename", reply["status"])}), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
