# Process 1 of a guest. Its argument is a file of shell variables that guest.py wrote.
#
# The root file system is the machine's own, read-only; only the lab's folder is writable, and what belongs
# to a running system (/run, /tmp, /dev) is the guest's own and in memory. Programs start slowly here, so
# every line counts.
set -e
. "$1"
export PATH="$LAB_FOLDER/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

mount -t proc proc /proc
trap 'echo "$0: ended with code $?, switching off"; echo o >/proc/sysrq-trigger; sleep 9' EXIT
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /run/lab/root/lib/modules /run/netns
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
for path in $LAB_KEEP; do # folders of the machine that /tmp or /run have just hidden
    mkdir -p "$path"
    mount -t hostfs -o "ro,$path" none "$path"
done
mkdir -p "$LAB_FOLDER"
mount -t hostfs -o "$LAB_FOLDER" none "$LAB_FOLDER"

echo "$LAB_HOSTNAME" >/proc/sys/kernel/hostname
ln -s "$LAB_MODULES/"* /run/lab/root/lib/modules/
echo "$LAB_FOLDER/bin/modprobe" >/proc/sys/kernel/modprobe
modprobe -a $LAB_LOAD
ip link set lo up
sh "$LAB_NETWORK"

ulimit -n 65536
set +e
# Not exec: process 1 has to reap whatever loses its parent.
"$LAB_PYTHON" -S -E "$LAB_SERVER" "$LAB_SETTINGS"
echo "the command server ended with code $?"
