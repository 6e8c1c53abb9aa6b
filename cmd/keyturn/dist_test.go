package main

import (
	"debug/elf"
	"os"
	"path/filepath"
	"testing"
)

// maxBinary bounds what a user downloads and every command maps.
const maxBinary = 25 << 20

// TestDistribution looks at what "make dist" built: one program for each system,
// small, and on Linux without a loader or libraries. KEYTURN_DIST names the folder.
func TestDistribution(t *testing.T) {
	dir := os.Getenv("KEYTURN_DIST")
	if dir == "" {
		t.Skip("KEYTURN_DIST names no folder of built programs: make dist")
	}
	for _, name := range []string{
		"keyturn-linux-amd64", "keyturn-linux-arm64", "keyturn-windows-amd64.exe", "keyturn-windows-arm64.exe",
		"keyturn-darwin-amd64", "keyturn-darwin-arm64",
	} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil {
			t.Error(err)
			continue
		}
		t.Logf("%s: %.1f MB", name, float64(info.Size())/1e6)
		if info.Size() > maxBinary {
			t.Errorf("%s has %d bytes, more than %d", name, info.Size(), maxBinary)
		}
		f, err := elf.Open(path)
		if err != nil {
			continue // no ELF: Windows and macOS have no static programs
		}
		libraries, err := f.ImportedLibraries()
		if loader := f.Section(".interp"); loader != nil || err != nil || len(libraries) > 0 {
			t.Errorf("%s is not static: %v, %v", name, libraries, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}
