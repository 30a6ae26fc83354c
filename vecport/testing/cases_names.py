"""Cases about names: each that is claimed is kept as it is written, every other is refused before anything is there."""

from __future__ import annotations

from dataclasses import replace

from ..errors import NotRepresentable, UsageError, VecportError
from ..model.capabilities import Names
from .bench import Bench, does_not_apply, refused

#: What is no letter somewhere: it ends a name, joins two, or is left out.
CHARACTERS = (
    " ", "\t", "\n", "\x1f", "\0", "\ud800", ".", "_", "-", "/", "\\", ":", ";", ",", "*", "?", "<", ">", "|", "#", "%",
    "%20", "%s", "$1", "{}", "[0]", "(", ")", "'", '"', "`", "--", "&", "=", "@", "~", "\u202e", "A", "é", "e\u0301",
    "☃🙂",
)  # fmt: skip
#: What somewhere is too short, another name, or a name of the database's own.
WHOLE = ("a", " a ", "..", "1.2.3.4", "table", "sqlite_a", "_default")
#: Where no limit is claimed, so many bytes have to fit.
UNLIMITED = 512


def candidates(names: Names) -> list[str]:
    """Odd names, and names about as long as can be; all characters that are claimed stand in one name."""
    taken = [c for c in CHARACTERS if not names.problem(f"a{c}a")]
    most = names.max_bytes or UNLIMITED
    long = ["x" * most, "é" * (most // 2)]
    if names.max_bytes:
        long += ["x" * (most + 1), "é" * (most // 2 + 1)]
    return [*(f"a{c}a" for c in CHARACTERS if c not in taken), f"a{'a'.join(taken)}a", *WHOLE, *long]


class Naming:
    """Collections and namespaces by every name."""

    def test_a_collection_has_any_name_that_is_claimed_and_no_other(self, bench: Bench) -> None:
        if bench.connector.sole_collection(bench.place_of(bench.fresh_name())) is not None:
            does_not_apply("a place has one collection, by a name of its own")
        names, wrong, there = bench.target_caps.collection_names, list[str](), bench.names()
        for name in map(bench.suite.spelled, candidates(names)):
            made = bench.collection(name=name)
            records = bench.records(made, 1)
            try:
                if names.problem(name):
                    with refused(NotRepresentable, UsageError):
                        bench.put(made, records)
                else:
                    there.add(name)
                    bench.put(made, records)
                    bench.expect(made, records)
            except (AssertionError, VecportError) as e:
                wrong.append(f"{name!r:.200}: {e}")
        assert not wrong, "\n".join(wrong)
        assert bench.names() == there, "other collections are listed than were made"

    def test_a_namespace_has_any_name_that_is_claimed_and_no_other(self, bench: Bench) -> None:
        caps = bench.target_caps
        if not caps.native_namespace:
            does_not_apply("it has no namespaces")
        spaces = ["", *candidates(caps.namespace_names)]
        held = [ns for ns in spaces if not caps.namespace_names.problem(ns)]
        made = bench.collection()
        # The ids are the same in all of them.
        records = [replace(record, namespace=ns) for ns in held for record in bench.records(made, 2)]
        bench.put(made, records, namespaces=tuple(sorted(held)))
        bench.expect(made, records)
        for ns in spaces:
            if ns not in held:
                other = bench.collection()
                with refused():
                    bench.put(other, [], namespaces=(ns,))
                assert not bench.exists(other.name), f"the namespace {ns!r:.60} was taken"
