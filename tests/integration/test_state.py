"""State directories of real daemons: whose they are, and what is said when they are not as they should be."""

import os
import shutil
import sqlite3
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from tests.lab import Lab  # noqa: E402
from tests.lab.federation import Federation  # noqa: E402

BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))


class Bare(Federation):
    """Provider and tenant, and the arguments they were started with; no libvirt's guests."""

    def start_libvirt(self):
        self.virt = SimpleNamespace(uri="test:///default", env={})

    def start_provider(self, listen="127.0.0.1:0"):
        super().start_provider(listen)
        self.provider_argv = self.argv_of(self.provider)

    def start_tenant(self, provider_url=None):
        super().start_tenant(provider_url)
        self.tenant_argv = self.argv_of(self.tenant)

    @staticmethod
    def argv_of(process):
        words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")[:-1]
        return [w.decode() for w in words[:words.index(b"--ready-fd")]]


@pytest.fixture(scope="module")
def fed():
    with Lab(prefix="lts") as lab:
        yield Bare(lab, BUILD, quote_delay_ms=0, tenant_options=["period_s=2"]).up()


def refused(fed, argv, *words):
    done = fed.lab.run(argv, check=False, timeout=30)
    assert done.returncode != 0, "it started"
    for word in words:
        assert str(word) in done.stderr, done.stderr


def wait_store(fed, who, good, what):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        store = fed.cli(who, "status")["store"]
        if good(store):
            return store
        time.sleep(0.1)
    raise AssertionError(f"never {what}: {store}")


def test_the_second_is_told_the_first(fed):
    refused(fed, fed.tenant_argv, fed.lab.path("tenant") / "pid", f"process {fed.tenant.pid} (limetree-tenant)")
    refused(fed, fed.provider_argv, fed.lab.path("provider") / "pid",
            f"process {fed.provider.pid} (limetree-provider)")
    assert fed.cli("guest", "status")["store"]["state"] == "ok"
    assert fed.cli("host", "status")["store"]["state"] == "ok"


def test_what_status_says_to_people(fed):
    for who in ("guest", "host"):
        text = fed.cli_raw(who, "status").stdout
        assert "store: ok, " in text and "reserve 16 of 16 MiB" in text, text


def test_deleted_under_it(fed):
    database = fed.lab.path("tenant") / "tenant.db"
    aside = database.with_name("aside.db")
    database.rename(aside)
    store = wait_store(fed, "guest", lambda s: s["state"] == "fault", "a fault")
    assert str(database) in store["message"] and store["since"]
    assert "tenant.db" in fed.cli_raw("guest", "status").stdout
    aside.rename(database)
    wait_store(fed, "guest", lambda s: s["state"] == "ok", "well again")


def test_stores_that_are_not_as_they_should_be(fed):
    directory = fed.lab.path("provider")
    database = directory / "provider.db"
    fed.provider.stop()
    good = database.read_bytes()

    def put(content):
        for end in ("", "-wal", "-shm"):
            database.with_name(database.name + end).unlink(missing_ok=True)
        database.write_bytes(content)
        database.chmod(0o600)
        os.chown(database, directory.stat().st_uid, directory.stat().st_gid)

    def changed(*statements):
        put(good)
        with sqlite3.connect(database) as sql:
            for statement in statements:
                sql.execute(statement)
        sql.close()
        os.chown(database, directory.stat().st_uid, directory.stat().st_gid)

    put(b"no database at all" * 100)
    refused(fed, fed.provider_argv, database, "backup")
    put(good[:100] + os.urandom(len(good) - 100))          # the header says it is one
    refused(fed, fed.provider_argv, database, "backup")
    changed("PRAGMA user_version=99")
    refused(fed, fed.provider_argv, database, "schema version 99", "newer")
    changed("PRAGMA application_id=7")
    refused(fed, fed.provider_argv, database, "another program", "left as it is")
    fed.tenant.stop()
    put((fed.lab.path("tenant") / "tenant.db").read_bytes())
    before = database.read_bytes()
    refused(fed, fed.provider_argv, database, "limetree-tenant")
    assert database.read_bytes() == before

    changed("INSERT INTO hosts VALUES(x'000102030405060708090a0b0c0d0e0f','10.0.0.1:1',x'00',x'00','[]',zeroblob(32))")
    fed.start_provider()
    status = fed.cli("host", "status")
    assert status["hosts"] == 1 and status["store"]["skipped"] == 1
    assert "000102030405060708090a0b0c0d0e0f" in status["store"]["skipped_first"]
    assert "rows were left out" in fed.cli_raw("host", "status").stdout
    fed.provider.stop()

    shutil.copy(database, directory / "aside.db")
    database.unlink()                                       # lost: an empty one begins, and it is said
    fed.start_provider()
    fed.provider.wait_log(r"store-new", 10)
    assert fed.cli("host", "status")["hosts"] == 0


def test_documents_can_be_removed(fed):
    document = fed.lab.write("document.json", '{"pcrs":{"4":["%s"]}}' % ("00" * 32))
    digest = fed.cli("host", "document", document)["digest"]
    assert fed.cli("host", "delete-document", digest) == {}
    gone = fed.cli_raw("host", "delete-document", digest, check=False)
    assert gone.returncode == 1 and "no document" in gone.stderr
    assert fed.cli_raw("host", "delete-document", "xyz", check=False).returncode == 2
