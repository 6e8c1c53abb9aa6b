//go:build darwin || freebsd

package vault

import "golang.org/x/sys/unix"

// networkFS names the network file system that a folder is on; "" for a local one.
func networkFS(dir string) string {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil || st.Flags&unix.MNT_LOCAL != 0 {
		return ""
	}
	return unix.ByteSliceToString(st.Fstypename[:])
}
