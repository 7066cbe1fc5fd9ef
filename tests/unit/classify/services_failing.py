"""Clients of Redis, brokers, clouds and MongoDB that really fail, on this host.

Each function lets out what the library raises. Servers are a port that nobody listens on, a
listener with a conversation (`failures.server`), and a Redis that the first function to need it
starts and `stop` ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from databases_failing import unused_port
from failures import NotPossible, answers, server

SECONDS_MAX = 20.0


def aws(code, status, retry_after=None):
    """A ClientError as botocore makes it from an answer."""
    from botocore.exceptions import ClientError

    headers = {} if retry_after is None else {"retry-after": retry_after}
    response = {
        "Error": {"Code": code, "Message": "x"},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
    }
    return ClientError(response, "SomeOperation")


def mongo(code, *labels):
    """An OperationFailure as the server's answer makes it."""
    from pymongo.errors import OperationFailure

    return OperationFailure("x", code, {"ok": 0, "code": code, "errorLabels": list(labels)})


def confluent(name, **flags):
    """A KafkaException around the KafkaError of that name."""
    from confluent_kafka import KafkaError, KafkaException

    return KafkaException(KafkaError(getattr(KafkaError, name), "x", **flags))


def hangs_up(connection):
    """A conversation: say nothing and close."""
    connection.recv(1)


def silent(connection):
    """A conversation: take what comes and never answer."""
    while connection.recv(65536):
        pass


# ------------------------------------------------------------------------------------ Redis

_running = []


def _redis(**settings):
    """A client of a Redis server of our own, which is started for the first of them."""
    import redis

    if not _running:
        program = shutil.which("redis-server")
        if program is None:
            raise NotPossible("no redis-server on this host")
        port = unused_port()
        flags = {"port": port, "save": "", "appendonly": "no", "bind": "127.0.0.1"}
        command = [program, *(word for k, v in flags.items() for word in (f"--{k}", str(v)))]
        directory = tempfile.mkdtemp()
        process = subprocess.Popen(
            command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _running.append((process, port, directory))
        deadline = time.monotonic() + SECONDS_MAX
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise NotPossible("redis-server does not start here") from None
                threading.Event().wait(0.02)
    return redis.Redis(port=_running[0][1], single_connection_client=True, **settings)


def stop():
    """End the Redis server, if there is one."""
    while _running:
        process, _, directory = _running.pop()
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS_MAX)
        shutil.rmtree(directory, ignore_errors=True)


def redis_refused():
    import redis

    with redis.Redis(port=unused_port()) as client:
        client.ping()


def redis_hangs_up():
    import redis

    with (
        server(hangs_up) as (host, port),
        redis.Redis(host=host, port=port, lib_name=None, lib_version=None) as client,
    ):
        client.ping()


def redis_silent():
    import redis

    settings = {"socket_timeout": 0.05, "lib_name": None, "lib_version": None}
    with server(silent) as (host, port), redis.Redis(host=host, port=port, **settings) as client:
        client.ping()


def redis_wrong_type():
    with _redis() as client:
        client.set("text", "x")
        client.lpush("text", 1)


def redis_unknown_command():
    with _redis() as client:
        client.execute_command("NOBODYKNOWS")


def redis_no_script():
    with _redis() as client:
        client.evalsha("0" * 40, 0)


def redis_value_of_a_type_it_cannot_send():
    with _redis() as client:
        client.set("x", object())


def redis_exec_abort():
    with _redis() as client:
        client.execute_command("MULTI")
        with contextlib.suppress(Exception):
            client.execute_command("SET", "only a key")
        client.execute_command("EXEC")


@contextlib.contextmanager
def _configured(client, name, value):
    before = client.config_get(name)[name]
    client.config_set(name, value)
    try:
        yield
    finally:
        client.config_set(name, before)


def redis_out_of_memory():
    with _redis() as client, _configured(client, "maxmemory", 1):
        client.set("x", "y")


def redis_read_only():
    with _redis() as client:
        client.replicaof("127.0.0.1", unused_port())
        try:
            client.set("x", "y")
        finally:
            client.replicaof("NO", "ONE")


def redis_auth_wanted():
    with (
        _redis() as client,
        _configured(client, "requirepass", "secret"),
        _redis(lib_name=None, lib_version=None) as other,
    ):
        other.ping()


def redis_auth_wrong():
    with (
        _redis() as client,
        _configured(client, "requirepass", "secret"),
        _redis(password="another") as other,
    ):
        other.ping()


def redis_no_permission():
    with _redis() as client:
        client.acl_setuser("reader", enabled=True, nopass=True, commands=["+@read"], keys=["*"])
        with _redis(username="reader", password="any", lib_name=None, lib_version=None) as other:
            other.set("x", "y")


def redis_watch_conflict():
    with _redis() as client, client.pipeline() as pipe:
        pipe.watch("watched")
        client.set("watched", time.monotonic_ns())
        pipe.multi()
        pipe.get("watched")
        pipe.execute()


def redis_lock_taken():
    with _redis() as client:
        client.set("taken", "x", px=10_000)
        with client.lock("taken", blocking_timeout=0.01):
            pass


def redis_lock_lost():
    with _redis() as client:
        lock = client.lock("lost", timeout=10)
        lock.acquire()
        client.delete("lost")
        lock.release()


def redis_pool_exhausted():
    import redis

    pool = redis.ConnectionPool(max_connections=0)
    pool.max_connections = 0
    redis.Redis(connection_pool=pool).ping()


# --------------------------------------------------------------------------------- botocore


def _s3(port, read_timeout=SECONDS_MAX, **settings):
    import botocore.config
    import botocore.session

    settings = {"aws_access_key_id": "x", "aws_secret_access_key": "y", **settings}
    return botocore.session.Session().create_client(
        "s3",
        region_name=settings.pop("region_name", "eu-central-1"),
        endpoint_url=f"http://127.0.0.1:{port}",
        config=botocore.config.Config(
            retries={"max_attempts": 0}, connect_timeout=5, read_timeout=read_timeout
        ),
        **settings,
    )


def _s3_answers(status, code):
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>x</Message></Error>"
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}"
    with server(answers(f"{head}\r\nConnection: close\r\n\r\n{body}".encode())) as (_, port):
        _s3(port).get_object(Bucket="b", Key="k")


def s3_no_such_key():
    _s3_answers(404, "NoSuchKey")


def s3_access_denied():
    _s3_answers(403, "AccessDenied")


def s3_slow_down():
    _s3_answers(503, "SlowDown")


def s3_internal_error():
    _s3_answers(500, "InternalError")


def stubbed_no_such_key():
    from botocore.stub import Stubber

    client = _s3(9)
    with Stubber(client) as stubber:
        stubber.add_client_error("get_object", "NoSuchKey", http_status_code=404)
        client.get_object(Bucket="b", Key="k")


def aws_refused():
    _s3(unused_port()).get_object(Bucket="b", Key="k")


def aws_read_timeout():
    with server(silent) as (_, port):
        _s3(port, read_timeout=0.2).get_object(Bucket="b", Key="k")


def aws_closed():
    with server(hangs_up) as (_, port):
        _s3(port).get_object(Bucket="b", Key="k")


def aws_no_credentials():
    import botocore.config
    import botocore.session

    session = botocore.session.Session()
    session.register_component("credential_provider", _NoCredentials())
    client = session.create_client("sqs", region_name="eu-central-1")
    client.list_queues()


class _NoCredentials:
    def load_credentials(self):
        return None


def aws_no_region():
    import botocore.session

    session = botocore.session.Session()
    session.set_config_variable("config_file", "/nowhere")
    session.get_component("config_store").set_config_variable("region", None)
    session.create_client("sqs")


def aws_parameters():
    _s3(9).get_object(Bucket="b")


# ------------------------------------------------------------------------------------ Kafka


def kafka_python_refused():
    import kafka

    if kafka.__version__ < "3":
        raise NotPossible("kafka-python has another exception for it before 3.0")
    client = kafka.KafkaProducer(
        bootstrap_servers=f"127.0.0.1:{unused_port()}", bootstrap_timeout_ms=300
    )
    client.close(0)


def aiokafka_refused():
    import aiokafka

    async def run():
        producer = aiokafka.AIOKafkaProducer(bootstrap_servers=f"127.0.0.1:{unused_port()}")
        try:
            await producer.start()
        finally:
            await producer.stop()

    asyncio.run(run())


def confluent_refused():
    from confluent_kafka.admin import AdminClient

    settings = {"bootstrap.servers": f"127.0.0.1:{unused_port()}", "log_level": 0}
    AdminClient(settings).list_topics(timeout=0.2)


def confluent_configuration():
    from confluent_kafka import Producer

    Producer({"nobody.knows": 1})


def confluent_queue_full():
    from confluent_kafka import KafkaError, KafkaException

    raise KafkaException(KafkaError(KafkaError._QUEUE_FULL, "Local: Queue full"))


# ------------------------------------------------------------------------------------- AMQP


def _pika(port):
    import pika

    parameters = pika.ConnectionParameters(
        host="127.0.0.1", port=port, connection_attempts=1, socket_timeout=5
    )
    pika.BlockingConnection(parameters).close()


def pika_refused():
    _pika(unused_port())


def pika_hangs_up():
    with server(lambda connection: connection.recv(8)) as (_, port):
        _pika(port)


# ---------------------------------------------------------------------------------- MongoDB


@contextlib.contextmanager
def _mongo_client(port):
    import pymongo

    client = pymongo.MongoClient(
        "127.0.0.1", port, serverSelectionTimeoutMS=100, connectTimeoutMS=100
    )
    try:
        yield client
    finally:
        client.close()


def mongo_refused():
    with _mongo_client(unused_port()) as client:
        client.x.command("ping")


def mongo_closed():
    with _mongo_client(9) as client:
        client.close()
        client.x.command("ping")


def mongo_uri():
    import pymongo

    pymongo.MongoClient("http://nowhere")
