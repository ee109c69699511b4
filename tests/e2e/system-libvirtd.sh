#!/bin/bash
# In mount and PID namespaces of its own (the caller's unshare): a system libvirtd whose every directory is a bind
# below $1, one bare domain, and what the host agent lists. Prints the agent's JSON; the namespace's end ends all.
set -eu
unset TMPDIR # the caller's own: swtpm_setup runs as somebody else
root=$1 agent=$2 localca=$3 uuid=$4 pki=$5 tcti=$6
mkdir -p "$root"/{etc,var,run,cache,log,records,state}
for pair in etc:/etc/libvirt var:/var/lib/libvirt run:/run/libvirt cache:/var/cache/libvirt log:/var/log/libvirt; do
    mkdir -p "${pair#*:}"
    mount --bind "$root/${pair%%:*}" "${pair#*:}"
done
# Debian's libvirtd looks its default user up before it reads its configuration; libvirt-daemon-system would make it.
cp /etc/passwd /etc/group "$root"
grep -q ^libvirt-qemu: "$root/passwd" || echo "libvirt-qemu:x:65534:65534::/nonexistent:/usr/sbin/nologin" >>"$root/passwd"
for name in libvirt-qemu kvm; do
    grep -q "^$name:" "$root/group" || echo "$name:x:65534:" >>"$root/group"
done
mount --bind "$root/passwd" /etc/passwd
mount --bind "$root/group" /etc/group
# A1: swtpm must not run as a user that can open /dev/tpm*; on Debian tss can.
cat >"$root/etc/qemu.conf" <<'C'
stdio_handler = "file"
user = "nobody"
group = "nogroup"
swtpm_user = "nobody"
swtpm_group = "nogroup"
namespaces = []
cgroup_controllers = []
security_driver = "none"
C
install -d -o nobody -g nogroup "$root/records"
install -o nobody -g nogroup -m 0600 "$pki/vtpm-ca.key" "$root/vtpm-ca.key"
install -m 0644 "$pki/vtpm-ca.crt" "$root/vtpm-ca.crt"
printf 'ca_cert = %s/vtpm-ca.crt\nca_key = %s/vtpm-ca.key\nrecords = %s/records\n' "$root" "$root" "$root" >"$root/localca.conf"
printf 'create_certs_tool = %s\ncreate_certs_tool_config = %s/localca.conf\nactive_pcr_banks = sha256\n' \
    "$localca" "$root" >"$root/swtpm_setup.conf"
: >"$root/options"
printf 'create_certs_tool_options = %s/options\n' "$root" >>"$root/swtpm_setup.conf"
mount --bind "$root/swtpm_setup.conf" /etc/swtpm_setup.conf

/usr/sbin/libvirtd >"$root/libvirtd.log" 2>&1 &
until virsh -q -c qemu:///system version >/dev/null 2>&1; do
    kill -0 $! 2>/dev/null && [ $SECONDS -lt 60 ] || { cat "$root/libvirtd.log" >&2; exit 1; }
    read -rt 0.1 <> <(:) || :
done
cat >"$root/domain.xml" <<X
<domain type='qemu'><name>bare</name><uuid>$uuid</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator><memballoon model='none'/>
<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm></devices></domain>
X
virsh -q -c qemu:///system define "$root/domain.xml" >&2
virsh -q -c qemu:///system start bare >&2
"$agent" -o role=host -o "tcti=$tcti" -o "state_dir=$root/state" -o libvirt_uri=qemu:///system \
    -o "records=$root/records" --inventory --json
virsh -q -c qemu:///system destroy bare >&2
