package commands

import "testing"

func TestAPathWithoutADriveIsOneOfTheWorkingFolders(t *testing.T) {
	t.Parallel()
	d := &Deps{WorkDir: func() (string, error) { return `Q:\work`, nil }}
	for name, want := range map[string]string{
		`a\b`: `Q:\work\a\b`, `..\a`: `Q:\a`, `\a\b`: `Q:\a\b`, `/a/b`: `Q:/a/b`, `C:\a`: `C:\a`, `\\host\share\a`: `\\host\share\a`,
	} {
		if got, err := d.path(name); err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", name, got, err, want)
		}
	}
}
