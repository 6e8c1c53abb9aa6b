// Package standins is what Windows would provide to the shipped scripts - the
// service manager, Task Scheduler, IIS, accounts and logons - written for a
// PowerShell engine on another system and answered by a model of one machine
// (pkg/lab/model). The scripts themselves run unchanged.
//
// It knows nothing of rotations, and is never part of the product.
package standins

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed windows
var files embed.FS

// Names of what the engine's process finds in its environment.
const (
	// EnvFolder names the folder that WriteTo filled.
	EnvFolder = "PSENGINE_STANDINS"
	// EnvModel names the Unix socket of the model.
	EnvModel = "KEYTURN_LAB_MODEL"
)

// WriteTo writes the stand-ins into dir, which exists.
func WriteTo(dir string) error {
	entries, err := fs.ReadDir(files, "windows")
	if err != nil {
		return fmt.Errorf("list the stand-ins: %w", err)
	}
	for _, e := range entries {
		b, err := files.ReadFile("windows/" + e.Name())
		if err != nil {
			return fmt.Errorf("read stand-in %s: %w", e.Name(), err)
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), b, 0o600); err != nil {
			return fmt.Errorf("write a stand-in: %w", err)
		}
	}
	return nil
}
