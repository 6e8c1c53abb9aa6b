package vault

import (
	"os"
	"path/filepath"

	"keyturn/pkg/pam"
)

// checkPlace refuses a folder on a network file system, where locks and shared
// memory, which keep processes from each other's writes, may be those of one
// computer only. The folder need not be there yet.
func (o Options) checkPlace(dir string) error {
	if o.Network {
		return nil
	}
	there, err := filepath.Abs(dir)
	if err != nil {
		return pam.Errorf(pam.ErrIO, "find the vault folder: %w", err)
	}
	for up := filepath.Dir(there); up != there; there, up = up, filepath.Dir(up) {
		if _, err := os.Stat(there); err == nil {
			break
		}
	}
	if kind := networkFS(there); kind != "" {
		return pam.Errorf(pam.ErrDenied, "%s is on a network file system (%s), where two computers, or one that crashes, "+
			"can damage a vault; nothing changed", dir, kind).
			WithHint("keep the vault on a local disk; if only this computer uses it: KEYTURN_FORCE_NETWORK=1")
	}
	return nil
}
