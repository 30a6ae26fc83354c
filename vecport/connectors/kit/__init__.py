"""The kit: what every connector would write again. A connector is knowledge of one database; the rest stands here.

Each module has one reason, and none knows a database:

* ``checks``: what a row group may hold, from a target's capabilities; the pipeline asks it for every connector.
* ``unlimited``: the capabilities of a place that keeps records in the model's own form.
* ``settings``: the table of ``--set``: parsing, export by allow-list, restoring, documentation.
* ``errors``: tables that turn a client's errors into vecport's, ready for HTTP and gRPC.
* ``handles``: what a session has open.
* ``places``: collections that are not there, keys without TLS, options of an address.
* ``lifecycle``: whose a collection is that is there: create, keep, recreate or refuse.
* ``listing``, ``ranges``: sources that list ids and then fetch them, and sources whose keys have an order.
* ``keyed``: targets that look up ids, add records and remove them.
* ``flight``, ``requests``: requests in flight ahead, and pages cut to what a request may hold.
* ``blame``: the first record that a request fails for, by halving.
* ``inserts``: ``--on-conflict fail``: what is there is judged; for databases without such a write too.
* ``folders``, ``copies``: copies of folders, and sources that read from one.
* ``staged``: files that are written aside and put in place.
* ``waiting``: waiting for a database's own work: heard, told, and given up.
* ``passports``: where a passport stands, and counting by the namespaces that it names.
* ``blobs``, ``columns``: vectors as runs of bytes, metadata from typed columns and a column of JSON, names in SQL.
* ``floats``: which doubles survive a database that reads its JSON without exact rounding.

Nothing here imports an SDK.
"""
