"""Writes to the shop's tables as a program does that knows nothing of a migration.

It keeps one connection open and appends to a column of a record that its input
names, "TABLE KEY TOKEN" a line. It answers "ok", "refused", or what went wrong.
"""
import sqlite3
import sys

WHERE = {"customers": "id=?", "Orders": "shop=? AND number=?", "tokens": "id=?"}

connection = sqlite3.connect(sys.argv[1], timeout=5)
for line in sys.stdin:
    table, key, token = line.rstrip("\n").split("\t")
    try:
        connection.execute(
            f'UPDATE "{table}" SET log=log||? WHERE {WHERE[table]}', [token + ";"] + key.split("|"))
        connection.commit()
        print("ok", flush=True)
    except sqlite3.Error as fault:
        connection.rollback()
        print("refused" if "writes have moved" in str(fault) else f"{type(fault).__name__}: {fault}", flush=True)
