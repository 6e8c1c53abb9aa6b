package vault

import (
	"path/filepath"

	"golang.org/x/sys/windows"
)

// networkFS says of a folder that it is on another computer; "" for a local one.
func networkFS(dir string) string {
	root, err := windows.UTF16PtrFromString(filepath.VolumeName(dir) + `\`)
	if err != nil || windows.GetDriveType(root) != windows.DRIVE_REMOTE {
		return ""
	}
	return "a network drive"
}
