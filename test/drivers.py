#!/usr/bin/env python3
"""Read one backup by streams with psycopg2, psycopg 3, and through pgbouncer.

usage: drivers.py DSN POOLED_DSN INSTANCE DIRECTORY

Writes one tar for each way into DIRECTORY; together they are the backup.
"""
import struct
import sys

import psycopg
import psycopg2

dsn, pooled, instance, directory = sys.argv[1:]


def value(connection, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def bytes_of_rows(data):
    """The payload of a COPY in binary format with one bytea column."""
    at = 11 + 8
    while struct.unpack_from("!h", data, at)[0] == 1:
        length = struct.unpack_from("!i", data, at + 2)[0]
        yield data[at + 6:at + 6 + length]
        at += 6 + length


def psycopg2_call(connection, handle, out):
    with connection.cursor() as cursor:
        cursor.copy_expert(f"CALL ese_copy_stream({instance}, {handle})", out)


def psycopg2_rows(connection, handle, out):
    with connection.cursor(name=None) as cursor:
        cursor.execute(f"SELECT ese_read_stream_instance({instance}, {handle}, 65536)")
        for (piece,) in cursor:
            out.write(piece)


def psycopg3_call(connection, handle, out):
    with connection.cursor().copy(f"CALL ese_copy_stream({instance}, {handle})") as copy:
        for piece in copy:
            out.write(piece)


def psycopg3_copy(connection, handle, out):
    sql = f"COPY (SELECT ese_read_stream_instance({instance}, {handle})) TO STDOUT (FORMAT binary)"
    with connection.cursor().copy(sql) as copy:
        data = b"".join(copy)
    for piece in bytes_of_rows(data):
        out.write(piece)


def one_row_each(connection, handle, out):
    """As a pooled client does it: every row may come over another connection."""
    while True:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT ese_read_stream_instance({instance}, {handle}, 1048576) LIMIT 1")
            row = cursor.fetchone()
        if row is None:
            return
        out.write(row[0])


def read(connect, ways):
    connection = connect()
    connection.autocommit = True
    for name, way in ways:
        handle = value(connection, f"SELECT ese_open_stream_instance({instance})")
        with open(f"{directory}/{name}.tar", "wb") as out:
            way(connection, handle, out)
        value(connection, f"SELECT ese_close_file_instance({instance}, {handle})")
    connection.close()


def main():
    admin = psycopg2.connect(dsn)
    admin.autocommit = True
    value(admin, f"SELECT ese_begin_external_backup_instance({instance})")
    # five streams would leave nothing to the later ones: each phase and each
    # backup is read in one way
    phases = {
        "databases": [("psycopg2_call", psycopg2_call)],
        "logs": [("psycopg3_call", psycopg3_call)],
    }
    read(lambda: psycopg2.connect(dsn), phases["databases"])
    value(admin, f"SELECT count(*) FROM ese_get_log_info_instance({instance})")
    read(lambda: psycopg.connect(dsn), phases["logs"])
    value(admin, f"SELECT ese_check(ese_end_external_backup_instance({instance}))")
    print("first backup is good")

    value(admin, f"SELECT ese_begin_external_backup_instance({instance})")
    read(lambda: psycopg.connect(pooled, prepare_threshold=None), [("pooled_rows", one_row_each)])
    value(admin, f"SELECT count(*) FROM ese_get_log_info_instance({instance})")
    read(lambda: psycopg2.connect(pooled), [("pooled_psycopg2_rows", psycopg2_rows)])
    value(admin, f"SELECT ese_check(ese_end_external_backup_instance({instance}))")
    print("second backup is good")

    value(admin, f"SELECT ese_begin_external_backup_instance({instance})")
    read(lambda: psycopg.connect(pooled, prepare_threshold=None), [("pooled_copy", psycopg3_copy)])
    value(admin, f"SELECT count(*) FROM ese_get_log_info_instance({instance})")
    read(lambda: psycopg2.connect(pooled), [("pooled_call", psycopg2_call)])
    value(admin, f"SELECT ese_check(ese_end_external_backup_instance({instance}))")
    print("third backup is good")


main()
