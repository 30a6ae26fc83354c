"""The kit: what every connector would write again. A connector is knowledge of one database; the rest stands here.

Each module has one reason, and none knows a database:

* ``checks``: what a row group may hold, from a target's capabilities.
* ``settings``: the table of ``--set``: parsing, export by allow-list, restoring, documentation.
* ``errors``: tables that turn a client's errors into vecport's, ready for HTTP and gRPC.
* ``places``: collections that are not there, keys without TLS, options of an address.
* ``lifecycle``: whose a collection is that is there: create, keep, recreate or refuse.
* ``listing``, ``ranges``: sources that list ids and then fetch them, and sources whose keys have an order.
* ``flight``, ``requests``: requests in flight ahead, and pages cut to what a request may hold.
* ``blame``: the first record that a request fails for, by halving.
* ``inserts``: ``--on-conflict fail`` for databases without such a write.
* ``folders``, ``staged``: copies of folders to read from, and files that are written aside and put in place.
* ``waiting``: waiting for a database's own work: heard, told, and given up.
* ``passports``: where a passport stands, and counting by the namespaces that it names.
* ``floats``: which doubles survive a database that reads its JSON without exact rounding.

Nothing here imports an SDK.
"""
