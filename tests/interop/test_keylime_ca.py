"""A site's own Keylime CA (keylime_ca): its certificates are the admin of the Keylime-compatible API, and nobody else."""

import os
import shutil
import ssl
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.mocked import Mocked

from conftest import TRANSCRIPTS
from tenantkit import KeylimeTenant

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))


class Site(Mocked):
    """Its tenant names cv_ca, which keylime_ca has made before."""

    def __init__(self, lab, stock):
        super().__init__(lab, BUILD, guests=2)
        self.home, self.cv_ca = lab.path("keylime-ca", directory=True), lab.path("cv_ca", directory=True)
        stock.configure(lab, self.home)
        for command in (["init"], ["create", "-n", "client"]):
            lab.run(stock.argv("ca", "-c", *command, "-d", self.cv_ca), cwd=self.home,
                    env=stock.env(self.home, {"ca": {"password": "interop"}}))

    def start_tenant(self, *args, **kwargs):
        self.tenant_options = ["keylime_accept=copyable, boot-only, unjudged",
                               f"keylime_admin_ca={self.cv_ca}/cacert.crt"]
        return super().start_tenant(*args, **kwargs)


@pytest.fixture(scope="module")
def fed(stock):
    with Lab(prefix="lkc") as lab:
        fed = Site(lab, stock).up()
        for guest in fed.guests:
            guest.start()
        yield fed


@pytest.fixture(scope="module")
def admin(stock, fed):
    place = TRANSCRIPTS / "keylime_ca"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)

    class Admin(KeylimeTenant):
        def options(self):
            options = super().options()
            options["tenant"] |= {"tls_dir": fed.cv_ca, "client_cert": f"{fed.cv_ca}/client-cert.crt",
                                  "client_key": f"{fed.cv_ca}/client-private.pem"}
            return options

    return Admin(stock, fed, place)


def test_the_admin_of_keylimes_own_ca(fed, admin):
    ours, theirs = fed.guests
    fed.cli("guest", "add", ours.uuid)
    for guest in fed.guests:
        fed.poll(lambda g=guest: g.uuid in admin("reglist").text, 60, lambda: "registrations")
    assert admin("regstatus", "-u", ours.uuid).ok
    assert ours.uuid in admin("cvlist").text
    assert "403" in admin("regdelete", "-u", ours.uuid).text          # a guest of the federation's
    assert admin("regstatus", "-u", ours.uuid).ok
    assert admin("regdelete", "-u", theirs.uuid).ok                   # nobody's
    assert ours.uuid in admin("reglist").text


def test_nobody_elsewhere(fed, admin):
    """Our own API, and a program that does not name that CA."""
    assert admin("cvlist").ok
    shutil.copy(fed.cv_ca / "client-cert.crt", fed.pki / "keylime.crt")
    shutil.copy(fed.cv_ca / "client-private.pem", fed.pki / "keylime.key")
    for path in (fed.pki / "keylime.crt", fed.pki / "keylime.key"):
        os.chown(path, fed.lab.uid, fed.lab.gid)
        path.chmod(0o600)
    code, _ = fed.https(fed.tenant_url, "keylime", "tenant-ca", "GET", "/federation/v1/guests")
    assert code == 403
    with pytest.raises((ssl.SSLError, OSError)):
        fed.https(fed.provider_url, "keylime", "federation-ca", "GET", "/federation/v1/hosts")
