package vault

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// networkTypes are the file systems of other computers, as Linux calls them: those
// of the kernel, and those of programs. A virtual machine's 9p and vboxsf are its host's.
var networkTypes = map[string]bool{
	"nfs": true, "nfs4": true, "cifs": true, "smb3": true, "smbfs": true, "9p": true, "vboxsf": true, "prl_fs": true, "ceph": true,
	"afs": true, "coda": true, "ncpfs": true, "lustre": true, "gpfs": true,
	"gfs2": true, "ocfs2": true, "beegfs": true, "orangefs": true, "pvfs2": true,
	"fuse.sshfs": true, "fuse.rclone": true, "fuse.glusterfs": true, "fuse.ceph-fuse": true, "fuse.s3fs": true, "fuse.davfs": true,
	"fuse.curlftpfs": true, "fuse.gvfsd-fuse": true, "fuse.smbnetfs": true, "fuse.nfs": true,
	"fuse.vmhgfs-fuse": true, "fuse.juicefs": true,
}

// onDisk reports whether a folder is on a local file system of the usual types. It
// says nothing of others, and spares most commands the table of mounts, which the
// kernel writes anew for each reader.
func onDisk(dir string) bool {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return false
	}
	switch int64(st.Type) { //nolint:unconvert // it has another size on some processors
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC:
		return true
	}
	return false
}

// networkFS names the network file system that a folder is on; "" for a local one,
// and where Linux does not tell.
func networkFS(dir string) string {
	if onDisk(dir) {
		return ""
	}
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return ""
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	kind := mountType(string(mounts), fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if !networkTypes[kind] {
		return ""
	}
	return kind
}

// mountType finds the type of a device's file system in a table of mounts
// (proc_pid_mountinfo(5)): ID parent MAJOR:MINOR root folder options [tags] - TYPE source options.
func mountType(mounts, device string) string {
	for line := range strings.Lines(mounts) {
		mount, system, _ := strings.Cut(line, " - ")
		if f := strings.Fields(mount); len(f) > 2 && f[2] == device {
			kind, _, _ := strings.Cut(system, " ")
			return kind
		}
	}
	return ""
}
