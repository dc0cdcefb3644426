"""Callers who never stop: some keep their connections, others make a new one for each request."""

import http.client
import json
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

PAUSE = 0.005  # each new connection leaves a port of this machine in TIME_WAIT


class Callers:
    """Each `keep` is one of them. `answers` are the models that answered, in order; `failures` is
    whatever else a caller got: another status, half an answer, or none."""

    def __init__(
        self,
        address: str,
        row: Mapping[str, Any],
        keep: Sequence[bool] = (True, False, False),
        pause: float = PAUSE,
    ) -> None:
        self.address, self.body, self.pause = address, json.dumps(row), pause
        self.answers: list[str] = []
        self.failures: list[str] = []
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.call, args=[one]) for one in keep]

    def call(self, keep: bool) -> None:
        connection = http.client.HTTPConnection(self.address, timeout=30)
        while not self.stopped.is_set():
            try:
                connection.request("POST", "/predict", self.body)
                response = connection.getresponse()
                response.read()
                if response.status == 200:
                    self.answers.append(str(response.headers["model-digest"]))
                else:
                    self.failures.append(str(response.status))
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
            if not keep:
                connection.close()
            time.sleep(self.pause if keep else PAUSE)
        connection.close()

    def __enter__(self) -> "Callers":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join()
