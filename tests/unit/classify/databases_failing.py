"""Drivers of SQL databases, and SQLAlchemy, that really fail on this host.

PostgreSQL and MySQL are listeners that speak just enough of the protocol to refuse; SQLite is real.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import tempfile

from failures import server
from failures_network import unused_port as unused_address


def unused_port():
    """A port of this host that nobody listens on."""
    return unused_address()[1]


# ------------------------------------------------------------------------------- PostgreSQL


def psycopg_refused():
    import psycopg

    psycopg.connect(host="127.0.0.1", port=unused_port(), user="x", connect_timeout=5)


def asyncpg_refused():
    import asyncpg

    asyncio.run(asyncpg.connect(host="127.0.0.1", port=unused_port(), user="x", database="x"))


def _postgres(connection):
    """Enough of the protocol to log in, and to prepare a statement with one integer."""
    with contextlib.suppress(OSError, struct.error):
        while True:
            (length,) = struct.unpack("!i", connection.recv(4))
            body = connection.recv(length - 4)
            if body[:4] == struct.pack("!i", 80877103):
                connection.sendall(b"N")
                continue
            break

        def message(kind, body=b""):
            return kind + struct.pack("!i", len(body) + 4) + body

        ready = message(b"Z", b"I")
        version = message(b"S", b"server_version\x0016.0\x00")
        encoding = message(b"S", b"client_encoding\x00UTF8\x00")
        connection.sendall(message(b"R", struct.pack("!i", 0)) + version + encoding + ready)
        with connection.makefile("rb") as received:
            while kind := received.read(1):
                (length,) = struct.unpack("!i", received.read(4))
                received.read(length - 4)
                if kind == b"D":
                    parameters = message(b"t", struct.pack("!hi", 1, 23))
                    connection.sendall(message(b"1") + parameters + message(b"n"))
                if kind in b"SH":
                    connection.sendall(ready if kind == b"S" else b"")
                if kind == b"X":
                    return


def _asyncpg_execute(*arguments):
    import asyncpg

    async def run():
        connection = await asyncpg.connect(host=host, port=port, user="x", database="x", ssl=False)
        try:
            await connection.fetch("SELECT $1::int", *arguments)
        finally:
            connection.terminate()

    with server(_postgres) as (host, port):
        asyncio.run(run())


def asyncpg_value_of_the_wrong_type():
    _asyncpg_execute("seven")


def asyncpg_too_many_arguments():
    _asyncpg_execute(1, 2)


# ------------------------------------------------------------------------------- SQLAlchemy


def _sqlite(**settings):
    import sqlalchemy

    return sqlalchemy.create_engine("sqlite://", **settings)


@contextlib.contextmanager
def _connected(*statements):
    import sqlalchemy

    engine = _sqlite()
    try:
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(sqlalchemy.text(statement))
            yield connection
    finally:
        engine.dispose()


def sqlalchemy_integrity():
    with _connected("CREATE TABLE t (a UNIQUE)", *["INSERT INTO t VALUES (1)"] * 2):
        pass


def sqlalchemy_no_such_table():
    with _connected("SELECT * FROM nowhere"):
        pass


def sqlalchemy_no_result():
    import sqlalchemy

    with _connected() as connection:
        connection.execute(sqlalchemy.text("SELECT 1 WHERE 0")).one()


def sqlalchemy_closed():
    import sqlalchemy

    with _connected() as connection:
        connection.close()
        connection.execute(sqlalchemy.text("SELECT 1"))


def sqlalchemy_locked():
    import sqlalchemy

    with tempfile.NamedTemporaryFile(suffix=".db") as file:
        engine = sqlalchemy.create_engine(
            f"sqlite:///{file.name}",
            connect_args={"timeout": 0},
            poolclass=sqlalchemy.pool.NullPool,
        )
        with engine.connect() as first, engine.connect() as second:
            try:
                first.exec_driver_sql("BEGIN IMMEDIATE")
                second.exec_driver_sql("BEGIN IMMEDIATE")
            finally:
                engine.dispose()


def sqlalchemy_pool_timeout():
    import sqlalchemy

    engine = _sqlite(poolclass=sqlalchemy.pool.QueuePool, pool_size=1, max_overflow=0)
    engine.pool._timeout = 0.001
    try:
        with engine.connect(), engine.connect():
            pass
    finally:
        engine.dispose()


def sqlalchemy_unknown_dialect():
    import sqlalchemy

    sqlalchemy.create_engine("nobody+knows://")


def sqlalchemy_psycopg_refused():
    import sqlalchemy

    sqlalchemy.create_engine(f"postgresql+psycopg://x@127.0.0.1:{unused_port()}/x").connect()


def sqlalchemy_pymysql_refused():
    import sqlalchemy

    sqlalchemy.create_engine(f"mysql+pymysql://x@127.0.0.1:{unused_port()}/x").connect()


def _mapped():
    import sqlalchemy
    from sqlalchemy import orm

    registry = orm.registry()

    class Item:
        pass

    table = sqlalchemy.Table(
        "item", registry.metadata, sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True)
    )
    table.append_column(sqlalchemy.Column("n", sqlalchemy.Integer))
    registry.map_imperatively(Item, table)
    engine = _sqlite(poolclass=sqlalchemy.pool.StaticPool)
    registry.metadata.create_all(engine)
    return Item, orm.Session(engine), engine


def sqlalchemy_stale():
    Item, session, engine = _mapped()
    try:
        with session:
            item = Item()
            item.n = 1
            session.add(item)
            session.flush()
            session.connection().exec_driver_sql("DELETE FROM item")
            item.n = 2
            session.flush()
    finally:
        engine.dispose()


def sqlalchemy_detached():
    Item, session, engine = _mapped()
    try:
        item = Item()
        with session:
            session.add(item)
            session.commit()
        item.n.bit_length()
    finally:
        engine.dispose()


def sqlalchemy_asyncpg_adapted():
    """As the dialect does it: an error of its own around asyncpg's, in turn around by another."""
    import asyncpg
    import sqlalchemy.exc
    from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi as adapt

    inner = asyncpg.SerializationError("could not serialize access")
    try:
        raise adapt.Error("could not serialize access", inner) from inner
    except Exception as orig:
        raise sqlalchemy.exc.DBAPIError("q", {}, orig) from orig


# ------------------------------------------------------------------------------------ MySQL


def pymysql_refused():
    import pymysql

    pymysql.connect(host="127.0.0.1", port=unused_port(), user="x")


def pymysql_hangs_up():
    import pymysql

    with server(lambda connection: None) as (host, port):
        pymysql.connect(host=host, port=port, user="x")


def _mysql_packet(number, body):
    return struct.pack("<I", len(body))[:3] + bytes([number]) + body


def _mysql_denies(connection):
    salt = b"12345678"
    capabilities = 0x0000A200 | 0x00080000  # protocol 4.1, secure connection, plugin names
    greeting = b"\x0a8.0.0\x00" + struct.pack("<I", 7) + salt + b"\x00"
    greeting += struct.pack("<HBHH", capabilities & 0xFFFF, 45, 2, capabilities >> 16)
    greeting += b"\x15" + bytes(10) + salt + b"1234\x00mysql_native_password\x00"
    connection.sendall(_mysql_packet(0, greeting))
    connection.recv(65536)
    error = b"\xff" + struct.pack("<H", 1045) + b"#28000Access denied for user 'x'"
    connection.sendall(_mysql_packet(2, error))


def pymysql_access_denied():
    import pymysql

    with server(_mysql_denies) as (host, port):
        pymysql.connect(host=host, port=port, user="x")
