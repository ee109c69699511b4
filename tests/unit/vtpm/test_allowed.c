/* What a domain may have where user space is enforced: libvirt's own output passes, and each way by which a
 * definition at rest reaches the host (docs/sealing.md section 7, point 2) does not. */
#include "tests/support/unit.h"
#include "vtpm/allowed.h"

#define HEAD "<domain type='kvm'><name>a</name><uuid>9b7d3b62-92c8-4f21-9f28-4b2a9b0bde31</uuid>"
#define TAIL "</domain>"
#define DEVICE(x) HEAD "<devices>" x "</devices>" TAIL

/* As libvirt 9 gives it back (virsh dumpxml --inactive). */
static const char whole[] =
    "<domain type='kvm'>\n"
    "  <name>guest</name>\n"
    "  <uuid>9b7d3b62-92c8-4f21-9f28-4b2a9b0bde31</uuid>\n"
    "  <metadata><libosinfo:libosinfo xmlns:libosinfo=\"http://libosinfo.org/xmlns/libvirt/domain/1.0\">"
    "<libosinfo:os id=\"http://debian.org/debian/12\"/></libosinfo:libosinfo></metadata>\n"
    "  <memory unit='KiB'>2097152</memory><currentMemory unit='KiB'>2097152</currentMemory>\n"
    "  <vcpu placement='static'>2</vcpu>\n"
    "  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type>"
    "<loader readonly='yes' secure='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.ms.fd</loader>"
    "<nvram template='/usr/share/OVMF/OVMF_VARS_4M.ms.fd'>/var/lib/libvirt/qemu/nvram/guest_VARS.fd</nvram>"
    "<boot dev='hd'/></os>\n"
    "  <features><acpi/><apic/><smm state='on'/></features>\n"
    "  <cpu mode='host-passthrough' check='none' migratable='on'/>\n"
    "  <clock offset='utc'><timer name='rtc' tickpolicy='catchup'/></clock>\n"
    "  <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>\n"
    "  <pm><suspend-to-mem enabled='no'/></pm>\n"
    "  <devices>\n"
    "    <emulator>/usr/bin/qemu-system-x86_64</emulator>\n"
    "    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
    "<source file='/var/lib/libvirt/images/guest.qcow2'/><target dev='vda' bus='virtio'/>"
    "<address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/></disk>\n"
    "    <disk type='block' device='disk'><source dev='/dev/mapper/vg-guest'/><target dev='vdb'/></disk>\n"
    "    <controller type='usb' index='0' model='qemu-xhci' ports='15'><address type='pci'/></controller>\n"
    "    <interface type='bridge'><mac address='52:54:00:11:22:33'/><source bridge='br0'/>"
    "<model type='virtio'/></interface>\n"
    "    <serial type='pty'><target type='isa-serial' port='0'><model name='isa-serial'/></target></serial>\n"
    "    <console type='pty'><target type='serial' port='0'/></console>\n"
    "    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>\n"
    "    <input type='tablet' bus='usb'/><input type='mouse' bus='ps2'/>\n"
    "    <tpm model='tpm-crb'><backend type='emulator' version='2.0'>"
    "<encryption secret='49ed1932-18dc-5b41-904c-95044560a982'/></backend></tpm>\n"
    "    <graphics type='vnc' port='-1' autoport='yes' listen='127.0.0.1'>"
    "<listen type='address' address='127.0.0.1'/></graphics>\n"
    "    <audio id='1' type='none'/><video><model type='virtio' heads='1'/></video>\n"
    "    <memballoon model='virtio'/><rng model='virtio'><backend "
    "model='random'>/dev/urandom</backend></rng>\n"
    "  </devices>\n"
    "</domain>\n";

static int check(const char *xml)
{
    return lt_allowed_check(xml, strlen(xml), &err);
}

static void libvirts_own(void **state)
{
    (void)state;
    OK(check(whole));
    OK(check(
        HEAD
        "<os><kernel>/var/lib/libvirt/images/k</kernel><cmdline>root=/dev/vda console=ttyS0</cmdline></os>"
        "<description>a/b</description>" TAIL));
}

static void each_way_to_the_host(void **state)
{
    static const struct {
        const char *what, *xml;
    } cases[] = {
        {"a serial port on the TPM", DEVICE("<serial type='dev'><source path='/dev/tpmrm0'/></serial>")},
        {"a serial port into a file", DEVICE("<serial type='file'><source path='/etc/cron.d/x'/></serial>")},
        {"a pty's log", DEVICE("<serial type='pty'><log file='/etc/cron.d/x'/></serial>")},
        {"a TPM passed through",
         DEVICE("<tpm><backend type='passthrough'><device path='/dev/tpmrm0'/></backend></tpm>")},
        {"a vTPM elsewhere",
         DEVICE("<tpm><backend type='emulator'><source type='dir' path='/x'/></backend></tpm>")},
        {"virtiofsd",
         DEVICE(
             "<filesystem type='mount'><driver type='virtiofs'/><source dir='/run/systemd'/></filesystem>")},
        {"9p of /proc",
         DEVICE("<filesystem type='mount'><source dir='/proc'/><target dir='p'/></filesystem>")},
        {"a label of its own",
         HEAD "<seclabel type='static' model='dac'><label>+0:+0</label></seclabel>" TAIL},
        {"a disk's label",
         DEVICE("<disk type='file'><source file='/var/lib/libvirt/images/x'><seclabel model='dac' "
                "relabel='no'/></source></disk>")},
        {"a pool's volume", DEVICE("<disk type='volume'><source pool='p' volume='v'/></disk>")},
        {"libvirt's network", DEVICE("<interface type='network'><source network='default'/></interface>")},
        {"a script of an interface", DEVICE("<interface type='bridge'><script path='/tmp/x'/></interface>")},
        {"another emulator", DEVICE("<emulator>/var/tmp/x</emulator>")},
        {"a way out of there", DEVICE("<emulator>/usr/bin/qemu-system-/../../../var/tmp/x</emulator>")},
        {"two slashes", DEVICE("<disk type='file'><source file='/var/lib/libvirt/images//../x'/></disk>")},
        {"the last step out", DEVICE("<disk type='block'><source dev='/dev/mapper/..'/></disk>")},
        {"any file as a disk", DEVICE("<disk type='file'><source file='/etc/shadow'/></disk>")},
        {"the TPM as a disk", DEVICE("<disk type='block'><source dev='/dev/tpmrm0'/></disk>")},
        {"raw commands", DEVICE("<disk type='block' rawio='yes'><source dev='/dev/mapper/x'/></disk>")},
        {"a device of the host", DEVICE("<hostdev mode='subsystem' type='pci'/>")},
        {"its events", DEVICE("<input type='evdev'><source dev='/dev/input/event0'/></input>")},
        {"another source of chance",
         DEVICE("<rng model='virtio'><backend model='random'>/dev/tpmrm0</backend></rng>")},
        {"a text in pieces", DEVICE("<rng><backend model='random'>/dev/tpmrm0<x/></backend></rng>")},
        {"a text behind a child", DEVICE("<rng><backend model='random'><x/>/dev/tpmrm0</backend></rng>")},
        {"QEMU's own words", "<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
                             "<qemu:commandline><qemu:arg value='-x'/></qemu:commandline></domain>"},
        {"another hypervisor", "<domain type='xen'></domain>"},
        {"a kernel of anywhere", HEAD "<os><kernel>/boot/x</kernel></os>" TAIL},
        {"variables of anywhere", HEAD "<os><nvram>/etc/x</nvram></os>" TAIL},
        {"an init", HEAD "<os><init>/sbin/init</init></os>" TAIL},
        {"memory in a file", HEAD "<memoryBacking><source type='file'/></memoryBacking>" TAIL},
        {"a core of the guest", HEAD "<on_crash>coredump-restart</on_crash>" TAIL},
        {"a core by its watchdog", DEVICE("<watchdog model='i6300esb' action='dump'/>")},
        {"a socket of graphics", DEVICE("<graphics type='vnc' socket='/run/x'/>")},
        {"an element of tomorrow", DEVICE("<teleporter/>")},
        {"the root of something else", "<network><name>x</name></network>"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int rc = check(cases[i].xml);
        if (rc != LT_E_REFUSED)
            fail_msg("%s: %d %s", cases[i].what, rc, err.msg);
    }
}

static int parse(const uint8_t *p, size_t n, void *state)
{
    (void)state;
    return lt_allowed_check((const char *)p, n, &err);
}

static void no_xml(void **state)
{
    (void)state;
    FAILS(LT_E_MALFORMED, check("<domain type='kvm'>"));
    FAILS(LT_E_REFUSED, check("<!DOCTYPE domain [<!ENTITY a '/x'>]><domain type='kvm'/>"));
    /* Up to the end of the root no prefix passes. */
    const size_t n = strlen(whole) - 1;
    uint8_t *copy = malloc(n);
    for (size_t k = 0; k < n; k++) {
        memcpy(copy, whole, k);
        assert_int_not_equal(parse(copy, k, NULL), 0);
    }
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(libvirts_own),
        cmocka_unit_test(each_way_to_the_host),
        cmocka_unit_test(no_xml),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
