#!/bin/sh
# /init of the lab's guests. Lines for the host start with "LT-GUEST:".
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
$B mount -t securityfs sec /sys/kernel/security
# What lies here is the lab's own (commands, output): tmpfs, which ima_policy=tcb does not measure. The root is ramfs,
# which it does.
$B mount -t tmpfs run /run
$B --install -s /bin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root
exec </dev/console >/dev/console 2>&1

while read -r module; do insmod "/lib/modules/$module"; done </lib/modules/order

# slirp's fixed plan: no need to ask by DHCP.
ip link set lo up
if [ -e /sys/class/net/eth0 ]; then
    ip link set eth0 up
    ip addr add 10.0.2.15/24 dev eth0
    ip route add default via 10.0.2.2
fi

for item in /sys/firmware/qemu_fw_cfg/by_name/opt/limetree/*; do
    [ -e "$item/raw" ] && (umask 077; cat "$item/raw" >"/etc/limetree/${item##*/}")
done

# The lab's shell: "TAG BASE64(command)" in, "TAG STATUS BASE64(output)" out. One descriptor
# stays open, for what the host sends to a closed port is lost; and while no host is connected
# a read ends at once instead of waiting, hence the pause.
shell() {
    exec 3<>"$1"
    while :; do
        while read -r tag text <&3; do
            echo "$text" | base64 -d >/run/command
            sh /run/command >/run/output 2>&1 </dev/null 3>&-
            status=$?
            echo "$tag $status $(base64 -w 0 /run/output)" >&3
        done
        usleep 50000
    done
}
for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name" 2>/dev/null)" = org.limetree.lab.0 ] && shell "/dev/${port##*/}" &
done

# Where the host has no way in: connections held ready for it (tunnel.py), as many as may be in use at once.
if [ -e /etc/limetree/tunnel ]; then
    cat >/run/tunnel <<'T'
#!/bin/sh
cat /proc/sys/kernel/random/boot_id
read -r go && echo ok && exec nc 127.0.0.1 9002
T
    chmod 755 /run/tunnel
    for _ in 1 2 3 4 5 6; do
        while :; do nc 10.0.2.2 "$(cat /etc/limetree/tunnel)" -e /run/tunnel; usleep 100000; done 2>/dev/null &
    done
fi

[ -e /etc/limetree/hook ] && sh /etc/limetree/hook

echo "LT-GUEST: up uuid=$(cat /sys/class/dmi/id/product_uuid) tpm=$(ls /dev/tpmrm0) t=$(cut -d' ' -f1 /proc/uptime)"

if [ -x /usr/bin/limetree-agent ]; then
    while :; do
        echo "LT-GUEST: agent started"
        /usr/bin/limetree-agent --config /etc/limetree/agent.conf
        echo "LT-GUEST: agent ended, status $?"
        sleep 1
    done
fi
while :; do sleep 3600; done
