package commands

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

// A destination is where a command's result goes. A file is made ready before
// the command runs: what cannot be told later is not begun.
type destination struct {
	d    *Deps
	name string   // "" is standard output
	temp *os.File // takes the file's name when it is complete; nil for what is no regular file
}

// destination makes the file that a flag names ready; without one it is standard
// output.
func (d *Deps) destination(flag, file string) (*destination, error) {
	to := &destination{d: d}
	if file == "" {
		return to, nil
	}
	var err error
	if to.name, err = d.path(file); err != nil {
		return nil, err
	}
	if err := d.OutsideVault(to.name); err != nil {
		return nil, err
	}
	info, err := os.Stat(to.name)
	switch {
	case err == nil && info.IsDir():
		return nil, usagef("%s: %s is a folder; nothing was done", flag, file)
	case err == nil && !info.Mode().IsRegular(): // a device or a pipe is written to, never replaced
		return to, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, pam.Errorf(pam.ErrIO, "%s: %w; nothing was done", flag, err)
	}
	if behind, err := filepath.EvalSymlinks(to.name); err == nil {
		to.name = behind // the file behind a link, not the link
	}
	if to.temp, err = os.CreateTemp(filepath.Dir(to.name), ".keyturn-*"); err != nil {
		return nil, pam.Errorf(pam.ErrIO, "%s: %w; nothing was done", flag, err)
	}
	return to, nil
}

// resultTo makes --output FILE ready, which is not written over unawares.
func (c *call) resultTo(file string) (*destination, error) {
	if err := c.vacant("--output", file); err != nil {
		return nil, err
	}
	return c.destination("--output", file)
}

// vacant refuses a file that holds something already, unless --force was given:
// what is in it cannot be brought back.
func (c *call) vacant(flag, file string) error {
	if file == "" || c.replace {
		return nil
	}
	path, err := c.path(file)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 || c.OutsideVault(file) != nil {
		return nil //nolint:nilerr // there is nothing to lose, or it is refused for another reason
	}
	return pam.Errorf(pam.ErrConflict, "%s: %s is there already; nothing was done", flag, file).WithHint("--force replaces it")
}

// OutsideVault refuses a file in the vault's folder: what is written there by a
// slip of the hand could be the vault itself.
func (d *Deps) OutsideVault(file string) error {
	dir, err := d.VaultDir()
	if err != nil {
		return nil //nolint:nilerr // no vault to harm
	}
	if file, err = d.path(file); err != nil {
		return err
	}
	inside := resolved(file) == resolved(dir) || strings.HasPrefix(resolved(file), resolved(dir)+string(filepath.Separator))
	if inside {
		return usagef("%s is in the vault's folder %s; nothing was done", file, dir).WithHint("choose a file somewhere else")
	}
	return nil
}

// resolved is a path without links, as far as it exists.
func resolved(path string) string {
	if found, err := filepath.EvalSymlinks(path); err == nil {
		return found
	}
	dir := filepath.Dir(path)
	if dir == path {
		return path
	}
	return filepath.Join(resolved(dir), filepath.Base(path))
}

// show writes a view. When a file cannot take it after all, it goes to standard
// output: what a command did must not stay untold.
func (to *destination) show(f output.Format, v output.View) error {
	if to.name == "" {
		err := output.Render(to.d.Out, f, v, to.d.columns(to.d.Out))
		if _, typed := errors.AsType[*pam.Error](err); err != nil && !typed {
			return pam.Errorf(pam.ErrIO, "write the result: %w", err)
		}
		return err
	}
	var b bytes.Buffer
	if err := output.Render(&b, f, v, 0); err != nil {
		return err
	}
	if err := to.write(b.Bytes()); err != nil {
		_, _ = to.d.Out.Write(b.Bytes())
		return pam.Errorf(pam.ErrIO, "write %s: %w; the result is on standard output", to.name, err)
	}
	return nil
}

func (to *destination) write(data []byte) error {
	if to.temp == nil {
		return os.WriteFile(to.name, data, 0o600)
	}
	_, err := to.temp.Write(data)
	if err == nil {
		err = to.temp.Sync()
	}
	err = errors.Join(err, to.temp.Close())
	if err == nil {
		err = os.Rename(to.temp.Name(), to.name)
	}
	if err != nil {
		_ = os.Remove(to.temp.Name())
	}
	to.temp = nil
	return err
}

// abandon removes what was made ready and not used.
func (to *destination) abandon() {
	if to.temp != nil {
		_ = to.temp.Close()
		_ = os.Remove(to.temp.Name())
	}
}
