package keyring

import (
	"strconv"
	"strings"
)

// busAround says whether there may be a keyring: elsewhere than on macOS and
// Windows it is behind the user's message bus. These are the places where
// godbus looks before it starts a bus of its own.
func busAround(goos string, getenv func(string) string, exists func(string) bool, uid int) (ok bool, why string) {
	if goos == "darwin" || goos == "windows" {
		return true, ""
	}
	address := getenv("DBUS_SESSION_BUS_ADDRESS")
	switch {
	case address != "" && !strings.HasPrefix(address, "autolaunch:"):
		return true, ""
	case exists("/run/user/" + strconv.Itoa(uid) + "/bus"):
		return true, ""
	}
	return false, "there is no keyring here: no session bus (DBUS_SESSION_BUS_ADDRESS is not set)"
}
