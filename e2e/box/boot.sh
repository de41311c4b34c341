# Runs as PID 1 of a box, in namespaces of its own, and becomes systemd.
# $1: an empty directory for the root file system. $2: the name of the box.
# $3: the socket on which systemd says that it is up.
set -eu
dir=$1 name=$2 notify=$3 root=$1/root

# The upper layer is on a tmpfs, so that it goes away with the mount namespace.
mount -t tmpfs -o mode=755 box "$dir"
mkdir "$dir/upper" "$dir/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" box "$root"

# Nothing that the host has enabled starts here.
units=$root/etc/systemd/system
rm -rf "$units"
mkdir -p "$units"
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n' >"$units/box.target"
# These want devices, the host's clock or more privileges than there are.
for unit in systemd-modules-load.service systemd-udevd.service systemd-timesyncd.service \
	systemd-networkd.service systemd-resolved.service systemd-binfmt.service systemd-firstboot.service \
	systemd-sysusers.service systemd-hwdb-update.service systemd-update-utmp.service ldconfig.service \
	systemd-tmpfiles-clean.timer modprobe@.service sys-kernel-debug.mount sys-kernel-tracing.mount \
	sys-fs-fuse-connections.mount dev-hugepages.mount; do
	ln -s /dev/null "$units/$unit"
done
mkdir -p "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\nRateLimitBurst=0\n' >"$root/etc/systemd/journald.conf.d/box.conf"
echo "$name" >"$root/etc/hostname"
tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
: >"$root/etc/fstab"

mount -t proc proc "$root/proc"
# Settings outside namespaces are the host's: the box may only read them.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,ro,bind "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
# systemd takes the hierarchy that it finds here, whatever the host's layout.
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"

dev=$root/dev
mount -t tmpfs -o mode=755 dev "$dev"
for node in null zero full random urandom tty; do
	: >"$dev/$node"
	mount --bind "/dev/$node" "$dev/$node"
done
mkdir "$dev/pts" "$dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$dev/pts"
mount -t tmpfs -o mode=1777 shm "$dev/shm"
ln -s pts/ptmx "$dev/ptmx"
ln -s /proc/self/fd "$dev/fd"
ln -s fd/0 "$dev/stdin"
ln -s fd/1 "$dev/stdout"
ln -s fd/2 "$dev/stderr"

mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mkdir "$root/run/host" "$root/run/old"
: >"$root/run/host/notify"
mount --bind "$notify" "$root/run/host/notify"

cd "$root"
pivot_root . run/old
umount -l /run/old
rmdir /run/old
# Units with a mount namespace of their own get their credentials by propagation.
mount --make-rshared /
# "container" keeps systemd from managing the host's hardware.
exec env -i container=box NOTIFY_SOCKET=/run/host/notify LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	/lib/systemd/systemd --unit=box.target --show-status=no
