"""The inventory of resident vTPMs: real libvirt, QEMU and swtpm; bare domains without kernel or disk."""

import hashlib
import json
import os
import shutil
import socket
import time
from pathlib import Path

import pytest
from cryptography import x509

from vtpmkit import (BIOS, NV_RSA_EK_CERT, PAUSED, RSA_EK, RUNNING, TAINTED, Deadline, Shell, ca, copy_of,  # noqa: F401
                     digest_of, domain_digest, ek_of, lab, new_vm, program, put_state, record_bytes, records, shell,
                     swtpm_on, virt, vm)


# ---- what is listed

def test_listed_as_it_is(lab, virt, shell, vm):
    r = shell.listed(vm)
    assert r["ek_digest"] == ek_of(lab, vm)
    assert r["flags"] == RUNNING
    assert r["firmware"] == hashlib.sha256(BIOS.read_bytes()).hexdigest()
    assert r["domain"] == domain_digest(virt.dumpxml(vm.name))
    assert (r["start_reset"], r["start_restart"]) == (7, 3)
    found = shell.reported(vm)
    assert found["born"] and (found["qemu_pid"], found["swtpm_pid"]) == (vm.qemu_pid, vm.swtpm_pid)


def test_tree_is_over_the_records(shell, new_vm):
    vms = [new_vm().start() for _ in range(2)]
    for each in vms:
        shell.listed(each)
    snap = shell.snapshot()
    leaves = [hashlib.sha256(b"\0" + record_bytes(r)).digest() for r in snap["records"]]
    assert [r["ek_digest"] for r in snap["records"]] == sorted(r["ek_digest"] for r in snap["records"])
    assert len(leaves) == 2 and all(len(record_bytes(r)) == 200 for r in snap["records"])
    assert snap["root"] == hashlib.sha256(b"\1" + leaves[0] + leaves[1]).hexdigest()
    assert shell.snapshot()["seq"] == snap["seq"], "unchanged, yet a new object"
    vms[0].destroy()
    after = shell.until(lambda: (s := shell.snapshot())["count"] == 1 and s)
    assert after["seq"] > snap["seq"]
    assert after["root"] == hashlib.sha256(b"\0" + record_bytes(after["records"][0])).hexdigest()


def test_certificate_is_the_ca_s(lab, ca, shell, vm):
    shell.listed(vm)
    with swtpm_on(lab, copy_of(lab, vm.vtpm_state)) as (tpm, _):
        der, public = tpm.nv_read(NV_RSA_EK_CERT), tpm.read_public(RSA_EK)
    path = lab.write("ek.der", der)
    lab.run(["openssl", "verify", "-x509_strict", "-CAfile", ca[0], path])
    key = x509.load_der_x509_certificate(der).public_key()
    assert key.public_numbers().n == int.from_bytes(public[-256:], "big")


def test_replaced_handle_and_owner_s_passwords_do_not_matter(lab, shell, vm):
    before = shell.listed(vm)["ek_digest"]
    vm.destroy()
    with swtpm_on(lab, vm.vtpm_state) as (tpm, tcti):
        env = {"TPM2TOOLS_TCTI": tcti}
        for command in (["tpm2_evictcontrol", "-Q", "-C", "o", "-c", "0x81010001"],
                        ["tpm2_createprimary", "-Q", "-C", "o", "-G", "rsa2048", "-c", "o.ctx"],
                        ["tpm2_evictcontrol", "-Q", "-C", "o", "-c", "o.ctx", "0x81010001"],
                        ["tpm2_clearcontrol", "-C", "l", "s"],
                        ["tpm2_changeauth", "-Q", "-c", "o", "owned"],
                        ["tpm2_changeauth", "-Q", "-c", "e", "endorsed"],
                        ["tpm2_changeauth", "-Q", "-c", "l", "locked"],
                        ["tpm2_shutdown", "-c"]):
            lab.run(command, env=env, cwd=lab.home)
        assert digest_of(tpm.read_public(RSA_EK)) != before
    vm.start()
    after = shell.listed(vm)
    assert after["ek_digest"] == before
    assert shell.reported(vm)["born"]


def test_paused_is_said(shell, vm):
    first = shell.listed(vm)
    vm.suspend()
    paused = shell.until(lambda: (r := shell.record(vm)) and r["flags"] == PAUSED and r)
    vm.resume()
    again = shell.until(lambda: (r := shell.record(vm)) and r["flags"] == RUNNING and r)
    assert first["incarnation"] == paused["incarnation"] == again["incarnation"]


def test_taint_is_said(virt, shell, new_vm):
    namespace = new_vm(extra_devices="<serial type='null'/>")
    plain = namespace.xml().replace("<domain ", "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' ", 1)
    namespace.xml = lambda: plain.replace(
        "</domain>", "<qemu:commandline><qemu:arg value='-msg'/><qemu:arg value='timestamp=off'/></qemu:commandline></domain>")
    namespace.start()
    assert shell.listed(namespace)["flags"] == RUNNING | TAINTED
    vm = new_vm().start()
    assert shell.listed(vm)["flags"] == RUNNING
    virt.virsh("qemu-monitor-command", vm.name, "--hmp", "info version")
    shell.until(lambda: (r := shell.record(vm)) and r["flags"] == RUNNING | TAINTED)


def test_root_reads_others_vtpms(lab, virt, shell, vm, records):
    """As on a host whose libvirtd is the system's: the private swtpm runs as the vTPM's own user."""
    if os.geteuid():
        pytest.skip("needs root")
    wanted = shell.listed(vm)
    late = Shell(lab, virt.uri, records, root=True)
    found = late.listed(vm)
    assert {**found, "incarnation": 0, "start_clock": 0} == {**wanted, "incarnation": 0, "start_clock": 0}
    assert late.reported(vm)["born"]
    late.close()


def test_nothing_is_left_behind(shell, vm):
    shell.listed(vm)
    assert not list(Path("/dev/shm").glob("limetree-*")), "a copy of a vTPM's state"


def test_command_line_agrees(lab, virt, shell, vm):
    path = lab.write("dump.xml", virt.dumpxml(vm.name))
    out = lab.run([lab.install(program("limetree", "bin")), "domain", "digest", path, "--json"]).stdout
    assert json.loads(out)["digest"] == shell.listed(vm)["domain"]
    assert json.loads(out)["uuid"] == vm.uuid


# ---- incarnations

def test_reset_draws_anew_and_keeps_the_ek(shell, vm):
    first = shell.listed(vm)
    vm.reset()
    after = shell.until(lambda: (r := shell.record(vm)) and r["incarnation"] != first["incarnation"] and r)
    assert after["ek_digest"] == first["ek_digest"]
    assert after["start_clock"] > first["start_clock"]
    assert shell.reported(vm)["swtpm_pid"] == vm.swtpm_pid


def test_restart_of_the_vm_draws_anew(shell, vm):
    first = shell.listed(vm)
    vm.destroy()
    shell.until(lambda: shell.record(vm) is None)
    vm.start()
    after = shell.listed(vm)
    assert after["incarnation"] != first["incarnation"] and after["ek_digest"] == first["ek_digest"]


def test_host_counts_draw_anew(shell, vm):
    first = shell.listed(vm)
    shell("counts 7 3")
    assert shell.record(vm) == first
    shell("clock 8 0 50")
    shell("counts 8 0")
    after = shell.until(lambda: (s := shell.snapshot()).get("records") and (r := shell.record(vm))
                        and r["start_reset"] == 8 and r)
    assert after["incarnation"] != first["incarnation"] and after["ek_digest"] == first["ek_digest"]
    shell("clock 7 3 5000")
    shell("counts 7 3")
    shell.until(lambda: "records" in shell.snapshot())


def test_libvirtd_s_restart_changes_nothing(virt, shell, vm):
    first = shell.listed(vm)
    virt.stop()
    shell.until(lambda: not shell("report")["connected"])
    assert shell.record(vm) == first, "libvirt away, the processes are as they were"
    virt.start()
    shell.until(lambda: shell("report")["connected"])
    assert shell.listed(vm) == first
    vm.suspend()
    shell.until(lambda: shell.record(vm)["flags"] == PAUSED)
    assert shell.record(vm)["incarnation"] == first["incarnation"]


def qmp(lab, vm, command):
    """As libvirt would say it; its own connection is gone with it."""
    (path,) = [p for p in lab.dir.rglob("monitor.sock") if p.parent.name.endswith(f"-{vm.name}")]
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(os.fspath(path))
        f = s.makefile("rw")
        assert "QMP" in f.readline()
        for each in ("qmp_capabilities", command):
            f.write(json.dumps({"execute": each}) + "\n")
            f.flush()
            while "return" not in (said := json.loads(f.readline())):
                assert "error" not in said, said


def test_a_reset_while_libvirtd_was_away_draws_anew(lab, virt, shell, new_vm):
    vm, other = new_vm().start(), new_vm().start()
    first, untouched = shell.listed(vm), shell.listed(other)
    # Incarnations of some age; nothing tells of that.
    deadline = Deadline(13)
    while not deadline.expired():
        assert shell.record(vm) == first
        time.sleep(0.2)
    virt.stop()
    shell.until(lambda: not shell("report")["connected"])
    before = (vm.vtpm_state / "tpm2-00.permall").stat().st_mtime_ns
    qmp(lab, vm, "system_reset")
    shell.until(lambda: (vm.vtpm_state / "tpm2-00.permall").stat().st_mtime_ns != before)    # firmware started the vTPM
    assert shell.record(vm) == first, "nobody knows yet"
    virt.start()
    shell.until(lambda: shell("report")["connected"])
    after = shell.until(lambda: (r := shell.record(vm)) and r["incarnation"] != first["incarnation"] and r)
    assert after["ek_digest"] == first["ek_digest"] and after["start_clock"] > first["start_clock"]
    assert shell.listed(other) == untouched


def test_busy_until_everything_is_examined(lab, virt, records, shell, vm):
    shell.listed(vm)
    late = Shell(lab, virt.uri, records)
    late("clock away")
    late.until(lambda: "the clock is away" in (late.reported(vm).get("reason") or ""))
    assert late.snapshot()["error"] == "busy"
    late("clock 9 1 77")
    found = late.listed(vm)
    assert found["start_clock"] >= 77 and found["incarnation"] != shell.record(vm)["incarnation"]
    late.close()


# ---- what is not listed

def test_swtpm_killed_alone(shell, vm):
    shell.listed(vm)
    fd = os.pidfd_open(vm.swtpm_pid)
    os.kill(vm.swtpm_pid, 9)
    wait_end(fd)
    assert shell.record(vm) is None, "still in the very next snapshot"
    assert vm.state() == "running"
    assert "swtpm" in shell.reported(vm)["reason"]


def test_qemu_killed(shell, vm):
    shell.listed(vm)
    fd = os.pidfd_open(vm.qemu_pid)
    os.kill(vm.qemu_pid, 9)
    wait_end(fd)
    assert shell.record(vm) is None
    shell.until(lambda: not shell.reported(vm))


def wait_end(fd):
    import select
    assert select.select([fd], [], [], 10)[0]
    os.close(fd)


def test_state_swapped_and_vm_reset(lab, shell, new_vm):
    vm, other = new_vm().start(), new_vm().start()
    first = shell.listed(vm)
    shell.listed(other)
    other.destroy()
    put_state(lab, other.vtpm_state / "tpm2-00.permall", vm.vtpm_state)
    vm.reset()
    shell.refused(vm, "another EK than the one it began with")
    assert first["ek_digest"] not in [r["ek_digest"] for r in shell.snapshot()["records"]]


def test_duplicate_ek_and_an_innocent(lab, shell, new_vm, records):
    one, two, innocent = new_vm().start(), new_vm(), new_vm().start()
    shell.listed(one)
    theirs = shell.listed(innocent)
    two.define()
    lab.path("c/libvirt/qemu/swtpm", two.uuid, "tpm2", directory=True)
    put_state(lab, one.vtpm_state / "tpm2-00.permall", two.vtpm_state)
    two.start()
    snap = shell.until(lambda: (s := shell.snapshot())["flags"] == 1 and s)
    assert [r["uuid"] for r in snap["records"]] == [innocent.uuid]
    assert snap["records"][0] == theirs
    assert "running domains have this EK" in shell.reported(one)["reason"]
    two.destroy()
    assert shell.until(lambda: shell.record(one))
    assert shell.snapshot()["flags"] == 0


def test_born_as_another(lab, shell, new_vm, records):
    one, two = new_vm().start(), new_vm()
    shell.listed(one)
    one.destroy()
    two.define()
    lab.path("c/libvirt/qemu/swtpm", two.uuid, "tpm2", directory=True)
    put_state(lab, one.vtpm_state / "tpm2-00.permall", two.vtpm_state)
    two.start()
    found = shell.refused(two, f"born as domain {one.uuid}")
    assert found["ek_digest"] and not found["born"]


def test_born_with_another_ek(lab, shell, vm, records):
    shell.listed(vm)
    vm.destroy()
    lab.run(["swtpm_setup", "--tpm2", "--tpmstate", vm.vtpm_state, "--overwrite", "--createek", "--config",
             lab.dir / "c/swtpm_setup.conf"])
    vm.start()
    shell.refused(vm, "born with another EK")
    shutil.rmtree(records / vm.uuid)
    vm.destroy()
    vm.start()
    shell.listed(vm)
    assert not shell.reported(vm)["born"], "no birth record: listed, but not born"


def test_record_of_a_stranger(lab, shell, vm, records):
    shell.listed(vm)
    vm.destroy()
    if os.geteuid():
        pytest.skip("only root can give a file away")
    (record, *_) = (records / vm.uuid).glob("*.json")
    os.chown(record, 12345, 12345)
    os.chmod(record, 0o644)
    vm.start()
    shell.refused(vm, "not a regular file of swtpm's user")


def test_external_and_absent_tpm(lab, shell, new_vm):
    state, sock = lab.path("t", "external", directory=True), lab.path("t", "external.sock")
    child = lab.spawn("external", ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--ctrl",
                                   f"type=unixio,path={sock}"])
    wait_for_path(sock)
    external = new_vm(tpm=None, extra_devices="<tpm model='tpm-crb'><backend type='external'><source type='unix' "
                                              f"mode='connect' path='{sock}'/></backend></tpm>")
    external.start()
    shell.refused(external, "not one emulator")
    none = new_vm(tpm=None).start()
    shell.refused(none, "no vTPM")
    assert shell.snapshot()["count"] == 0
    external.destroy()
    child.stop()


def wait_for_path(path):
    deadline = Deadline(10)
    while not path.exists():
        assert not deadline.expired()
        time.sleep(0.01)


def test_firmware_written_after_the_start(lab, virt, records, shell, new_vm):
    bios = lab.write("bios.bin", BIOS.read_bytes() + b"\0" * 65536, 0o644)
    vm = new_vm(f"<loader type='rom'>{bios}</loader>").start()
    first = shell.listed(vm)
    assert first["firmware"] == hashlib.sha256(bios.read_bytes()).hexdigest()
    assert first["domain"] == domain_digest(virt.dumpxml(vm.name))
    bios.write_bytes(b"another")
    assert shell.record(vm) == first, "what QEMU loaded is known from before"
    late = Shell(lab, virt.uri, records)
    late.refused(vm, "written after process")
    late.close()


def test_snapshot_is_quick(shell, new_vm):
    vms = [new_vm().start() for _ in range(3)]
    for each in vms:
        shell.listed(each)
    took = []
    for _ in range(50):
        begin = time.monotonic()
        assert shell.snapshot()["count"] == 3
        took.append(time.monotonic() - begin)
    assert sorted(took)[25] < 0.05
