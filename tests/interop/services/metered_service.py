"""A WSGI service that counts its requests and mounts its metrics."""

import os
import signal

import faultplane as fp

requests = fp.counter("requests")
bank = fp.Dependency("bank", retry=fp.Retry(budget=fp.RetryBudget()), breaker=fp.Breaker())


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/metrics":
        return fp.metrics_app(environ, start_response)
    requests.add()
    bank.call(len, path)
    _, what, n = path.split("/")
    if what == "burst":
        for number in range(int(n)):
            fp.record(TimeoutError("no answer"), f"charge {number % 3}")
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
