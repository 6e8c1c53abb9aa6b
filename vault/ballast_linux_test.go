package vault_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"keyturn/pkg/needtest"
	"keyturn/pkg/pam"
	"keyturn/vault"
)

// With this variable, which names a folder, the test is in a namespace of its own,
// where it may mount.
const fullVariable = "KEYTURN_VAULT_TEST_FULL"

// A rotation that has sent a password ends, whatever fills the disk; what can wait
// fails, and the next rotation is not begun.
func TestASentRotationEndsOnAFullDisk(t *testing.T) {
	t.Parallel()
	withMounts(t, fullDisk)
}

// withMounts runs do with a folder for it, in a process that may mount.
func withMounts(t *testing.T, do func(ctx context.Context, dir string) error) {
	t.Helper()
	if dir := os.Getenv(fullVariable); dir != "" {
		must(t, do(t.Context(), dir))
		return
	}
	c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	c.Env = append(os.Environ(), fullVariable+"="+t.TempDir())
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := c.CombinedOutput()
	if errors.Is(err, os.ErrPermission) || strings.Contains(string(out), "no mount") {
		needtest.Missing(t, "a file system of our own cannot be mounted")
	}
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// A vault on a disk that is mounted for reading is not opened, and the reason is told.
func TestAReadOnlyDiskIsToldOf(t *testing.T) {
	t.Parallel()
	withMounts(t, readOnlyDisk)
}

func readOnlyDisk(ctx context.Context, dir string) error {
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=7m,mode=0700"); err != nil {
		return fmt.Errorf("no mount: %w", err)
	}
	home := filepath.Join(dir, "vault")
	v, err := vault.Create(ctx, home, word(testPassphrase), options())
	if err != nil {
		return err
	}
	key := v.Key()
	defer key.Destroy()
	if err := v.Close(); err != nil {
		return err
	}
	if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "mode=0700"); err != nil {
		return fmt.Errorf("no mount: %w", err)
	}
	if _, err := vault.Open(ctx, home, key, options()); !errors.Is(err, pam.ErrIO) || !strings.Contains(pam.HintOf(err), "read-only disk") {
		return fmt.Errorf("it was opened with %w (%s)", err, pam.HintOf(err))
	}
	return nil
}

// fullDisk rotates on a file system of 7 MiB that gets full after the send.
func fullDisk(ctx context.Context, dir string) error {
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=7m,mode=0700"); err != nil {
		return fmt.Errorf("no mount: %w", err)
	}
	v, err := vault.Create(ctx, filepath.Join(dir, "vault"), word(testPassphrase), options())
	if err != nil {
		return err
	}
	user, err := churnUser(ctx, v)
	if err != nil {
		return err
	}
	job, err := stage(ctx, v, user, "sent")
	if err != nil {
		return err
	}
	fill := filepath.Join(dir, "fill")
	if err := fillUp(fill); err != nil {
		return err
	}
	if _, err := v.AddRecord(ctx, userRecord("r", "r", strings.Repeat("x", 1<<20))); !errors.Is(err, pam.ErrIO) || !strings.Contains(err.Error(), "full") {
		return fmt.Errorf("the disk is not full: %w", err)
	}
	if err := endJob(ctx, v, job); err != nil {
		return fmt.Errorf("a password was sent: %w", err)
	}
	if err := fillUp(fill); err != nil {
		return err
	}
	if job, err = stage(ctx, v, user, "not sent"); !errors.Is(err, pam.ErrIO) || !strings.Contains(err.Error(), "nothing was sent") {
		return fmt.Errorf("begun without ballast: %w", err)
	}
	if err := errors.Join(v.Close(), os.Truncate(fill, 1<<20)); err != nil {
		return err
	}
	return withRoom(ctx, filepath.Join(dir, "vault"), fill, job)
}

// withRoom begins the rotation when there is room, and opens the vault once there is none again.
func withRoom(ctx context.Context, dir, fill string, job pam.UID) error {
	v, err := openOrCreate(ctx, dir)
	if err != nil {
		return err
	}
	j, err := v.Job(ctx, job)
	if err != nil {
		return err
	}
	g, err := v.Generation(ctx, j.Account, pam.Current)
	if err != nil || string(g.Password.Reveal()) != "sent" {
		return fmt.Errorf("the password in force is lost: %d %w", g.Number, err)
	}
	if _, err = v.Stage(ctx, job, j.Account, word("again"), pam.Evidence{}); err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	if err := errors.Join(v.Close(), fillUp(fill)); err != nil {
		return err
	}
	if v, err = openOrCreate(ctx, dir); err != nil {
		return fmt.Errorf("opened on a full disk: %w", err)
	}
	defer v.Close() //nolint:errcheck // a test's
	_, err = v.Check(ctx)
	return err
}

func stage(ctx context.Context, v *vault.Vault, user pam.UID, password string) (pam.UID, error) {
	j, err := v.CreateJob(ctx, user, pam.JobOptions{})
	if err != nil {
		return "", err
	}
	_, err = v.Stage(ctx, j.ID, j.Account, word(password), pam.Evidence{})
	return j.ID, err
}

// endJob saves as much as a rotation with many machines.
func endJob(ctx context.Context, v *vault.Vault, id pam.UID) error {
	if err := v.SetOutcome(ctx, id, pam.OutcomeApplied, pam.Evidence{}); err != nil {
		return err
	}
	if err := v.Commit(ctx, id, pam.VerdictRight); err != nil {
		return err
	}
	for n := range 300 {
		i := pam.Item{Machine: "AAAAAAAAAAAAAAAAAAAAAA", Kind: pam.KindService, Name: fmt.Sprint(n), Status: pam.StatusOK}
		if err := v.SaveSteps(ctx, []pam.Step{{Job: id, Item: i}}); err != nil {
			return fmt.Errorf("step %d: %w", n, err)
		}
	}
	j, err := v.Job(ctx, id)
	if err != nil {
		return err
	}
	j.State, j.Phase = pam.JobFinished, pam.PhaseDone
	return v.SetJob(ctx, j)
}

// fillUp writes a file until not a page more can be written.
func fillUp(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it is full
	for page := make([]byte, 4096); ; {
		if _, err := f.Write(page); err != nil {
			return nil // that is what was wanted
		}
	}
}
