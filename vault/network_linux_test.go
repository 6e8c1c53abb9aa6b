package vault

import (
	"path/filepath"
	"strings"
	"testing"

	"keyturn/pkg/pam"
)

// mounts are rows as Linux 6 writes them: with tags and without, folders with a
// space (\040) and a type of a program.
const mounts = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:45 / /home/me/share rw,relatime shared:21 - nfs4 srv:/export rw,vers=4.2
41 22 0:46 / /mnt/a\040b rw,nosuid,nodev - cifs //srv/x rw
42 22 0:47 / /home/me/far rw,nosuid,nodev,relatime shared:9 master:2 - fuse.sshfs me@far: rw,user_id=1000
43 22 0:48 / /home/me/plain rw,nosuid,nodev,relatime - fuse.gocryptfs /home/me/.cipher rw
44 22 0:49 / /broken
`

func TestAFileSystemOfAnotherComputerIsKnown(t *testing.T) {
	t.Parallel()
	for device, want := range map[string]string{
		"254:0": "ext4", "0:45": "nfs4", "0:46": "cifs", "0:47": "fuse.sshfs", "0:48": "fuse.gocryptfs", "0:49": "", "0:4": "",
	} {
		got := mountType(mounts, device)
		if got != want {
			t.Errorf("%s is %q, want %q", device, got, want)
		}
		if local := got == "ext4" || got == "fuse.gocryptfs" || got == ""; networkTypes[got] == local {
			t.Errorf("%s is local: %v", got, !local)
		}
	}
}

// What Linux says of this computer's own folders is understood, also of one that is not there yet.
func TestALocalFolderIsNotRefused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "not", "there")
	if err := (Options{}).checkPlace(dir); err != nil {
		t.Errorf("%s: %v", dir, err)
	}
}

// TestANetworkFolderIsRefused takes a type that this computer has for one of the network.
func TestANetworkFolderIsRefused(t *testing.T) { //nolint:paralleltest // it changes the table
	networkTypes["proc"] = true
	defer delete(networkTypes, "proc")
	err := (Options{}).checkPlace("/proc/self/not/there")
	if pam.KindOf(err) != pam.ErrDenied || !strings.Contains(err.Error(), "network file system (proc)") {
		t.Errorf("got %v", err)
	}
	if err := (Options{Network: true}).checkPlace("/proc/self"); err != nil {
		t.Errorf("forced: %v", err)
	}
}
