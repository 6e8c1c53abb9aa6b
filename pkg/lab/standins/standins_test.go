package standins_test

import (
	"os"
	"path/filepath"
	"testing"

	"keyturn/pkg/lab/standins"
)

// What the stand-ins do is told by the scenarios of pkg/lab/script, which run
// the shipped scripts on them.
func TestWriteToFillsAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := standins.WriteTo(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Model.cs", "Services.cs", "Tasks.cs", "Iis.cs", "Identity.cs", "Native.cs", "Time.cs", "Cim.ps1"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := standins.WriteTo(filepath.Join(dir, "missing")); err == nil {
		t.Error("a folder that is not there was filled")
	}
}
