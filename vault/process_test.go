//go:build !windows

package vault_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"keyturn/pkg/pam"
	"keyturn/vault"
)

// With this variable the test binary is another process at work on a vault.
const childVariable = "KEYTURN_VAULT_TEST_CHILD"

func TestMain(m *testing.M) {
	work := map[string]func(ctx context.Context, dir string) error{
		"churn": churn, "add": addMany, "lock": lockAndWait, "umask": createUnderUmask, "rekey": rekeyOften, "records": addForEver,
	}[os.Getenv(childVariable)]
	if work == nil {
		os.Exit(m.Run())
	}
	if err := work(context.Background(), os.Args[len(os.Args)-1]); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

// A child is a process at work on a vault; what it acknowledged is in lines.
type child struct {
	cmd   *exec.Cmd
	mu    sync.Mutex
	lines []string
	first chan struct{} // closed with the first line
	done  chan struct{} // closed when there are no more
}

func start(t *testing.T, work, dir string) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0], "-test.run=^$", dir), first: make(chan struct{}), done: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childVariable+"="+work)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	must(t, err)
	must(t, c.cmd.Start())
	go func() {
		defer close(c.done)
		for r := bufio.NewReader(out); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return // half a line acknowledges nothing
			}
			c.mu.Lock()
			c.lines = append(c.lines, strings.TrimSpace(line))
			if len(c.lines) == 1 {
				close(c.first)
			}
			c.mu.Unlock()
		}
	}()
	return c
}

func (c *child) kill() []string {
	_ = c.cmd.Process.Kill()
	return c.wait()
}

func (c *child) wait() []string {
	<-c.done
	_ = c.cmd.Wait()
	return c.lines
}

func openOrCreate(ctx context.Context, dir string) (*vault.Vault, error) {
	if !vault.Exists(dir) {
		return vault.Create(ctx, dir, word(testPassphrase), options())
	}
	key, err := vault.UnlockKey(ctx, dir, word(testPassphrase))
	if err != nil {
		return nil, err
	}
	return vault.Open(ctx, dir, key, options())
}

// churn adds records and rotates a password until it is killed.
func churn(ctx context.Context, dir string) error {
	v, err := openOrCreate(ctx, dir)
	if err != nil {
		return err
	}
	fmt.Println("created")
	user, err := churnUser(ctx, v)
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		uid, err := v.AddRecord(ctx, userRecord("r", "r", "r"))
		if err != nil {
			return err
		}
		fmt.Println("record", uid)
		if err := churnRotate(ctx, v, user, fmt.Sprintf("password-%d-%d", os.Getpid(), n)); err != nil {
			return err
		}
	}
}

func churnUser(ctx context.Context, v *vault.Vault) (pam.UID, error) {
	h, err := v.Find(ctx, "churned", "")
	if errors.Is(err, pam.ErrNotFound) {
		h.UID, err = v.AddRecord(ctx, userRecord("churned", "churned", "first"))
	}
	if err != nil {
		return "", err
	}
	if err := v.SetRotation(ctx, pam.RotationSettings{User: h.UID}); err != nil {
		return "", err
	}
	jobs, err := v.Jobs(ctx)
	for _, j := range jobs {
		if j.State.Terminal() {
			continue
		}
		if j.Generation != 0 && !j.Committed {
			err = errors.Join(err, v.Commit(ctx, j.ID, pam.VerdictRight))
		}
		j.State = pam.JobFinished
		err = errors.Join(err, v.SetJob(ctx, j))
	}
	return h.UID, err
}

func churnRotate(ctx context.Context, v *vault.Vault, user pam.UID, password string) error {
	j, err := v.CreateJob(ctx, user, pam.JobOptions{})
	if err != nil {
		return err
	}
	if _, err := v.Stage(ctx, j.ID, j.Account, word(password), pam.Evidence{}); err != nil {
		return err
	}
	fmt.Println("staged", password)
	if err := v.SetOutcome(ctx, j.ID, pam.OutcomeApplied, pam.Evidence{}); err != nil {
		return err
	}
	if err := v.Commit(ctx, j.ID, pam.VerdictRight); err != nil {
		return err
	}
	fmt.Println("committed", password)
	j.State = pam.JobFinished
	return v.SetJob(ctx, j)
}

func TestAKilledProcessLosesNothingItAcknowledged(t *testing.T) {
	t.Parallel()
	kept := filepath.Join(t.TempDir(), "kept")
	var acknowledged []string
	for n := range 25 {
		dir := kept
		if n < 10 { // die early, while the vault is being made
			dir = filepath.Join(t.TempDir(), "new")
		}
		c := start(t, "churn", dir)
		limit := 150 * time.Millisecond
		if n >= 10 {
			<-c.first
		}
		timer := time.NewTimer(rand.N(limit))
		select {
		case <-timer.C:
		case <-c.done:
		}
		lines := c.kill()
		if i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "error") }); i >= 0 {
			t.Fatalf("kill %d: %s", n, lines[i])
		}
		if n < 10 {
			checkKilled(t, dir, lines)
			continue
		}
		acknowledged = append(acknowledged, lines...)
		checkKilled(t, dir, acknowledged)
	}
	t.Logf("%d acknowledged writes", len(acknowledged))
}

// checkKilled opens the vault of a killed process and looks for all that it
// acknowledged.
func checkKilled(t *testing.T, dir string, lines []string) {
	t.Helper()
	if !vault.Exists(dir) && len(lines) > 0 {
		t.Fatalf("the vault is gone, after %q", lines)
	}
	v, err := openOrCreate(t.Context(), dir)
	must(t, err)
	defer func() { must(t, v.Close()) }()
	var staged, committed string
	for _, l := range lines {
		what, value, _ := strings.Cut(l, " ")
		switch what {
		case "record":
			if _, err := v.Record(t.Context(), pam.UID(value)); err != nil {
				t.Errorf("an acknowledged record is lost: %v", err)
			}
		case "staged":
			staged = value
		case "committed":
			committed = value
		}
	}
	must(t, v.VerifyAudit(t.Context()))
	h, err := v.Find(t.Context(), "churned", "")
	if errors.Is(err, pam.ErrNotFound) && staged == "" {
		return
	}
	must(t, err)
	_, a, err := v.User(t.Context(), h.UID)
	if err != nil && staged == "" {
		return
	}
	must(t, err)
	history := vault.Passwords(t.Context(), v, a.UID)
	if i := slices.Index(history, staged); staged != "" && i < 0 {
		t.Errorf("the staged %s is lost", staged)
	}
	// A process may have died after a commit, before it said so.
	current := slices.Index(history, passwordOf(t, v, h.UID))
	if committed != "" && current < slices.Index(history, committed) {
		t.Errorf("the committed %s is undone: current is number %d", committed, current+1)
	}
}

func addMany(ctx context.Context, dir string) error {
	v, err := openOrCreate(ctx, dir)
	if err != nil {
		return err
	}
	for range 15 {
		uid, err := v.AddRecord(ctx, userRecord("r", "r", "r"))
		if err != nil {
			return err
		}
		fmt.Println(uid)
	}
	return v.Close()
}

func TestProcessesThatWriteAtOnceLoseNothing(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	var children []*child
	for range 3 {
		children = append(children, start(t, "add", dir))
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 10 {
				if _, err := v.AddRecord(t.Context(), userRecord("here", "r", "r")); err != nil {
					t.Error(err)
				}
				if _, err := v.Heads(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, c := range children {
		lines := c.wait()
		if len(lines) != 15 {
			t.Fatalf("a process said %q", lines)
		}
		for _, uid := range lines {
			if _, err := v.Record(t.Context(), pam.UID(uid)); err != nil {
				t.Errorf("a record is lost: %v", err)
			}
		}
	}
	if heads, err := v.Heads(t.Context()); err != nil || len(heads) != 75 {
		t.Errorf("%d records instead of 75, %v", len(heads), err)
	}
	must(t, v.VerifyAudit(t.Context()))
}

func lockAndWait(ctx context.Context, dir string) error {
	v, err := openOrCreate(ctx, dir)
	if err != nil {
		return err
	}
	jobs, err := v.Jobs(ctx)
	if err != nil {
		return err
	}
	if _, err := v.LockAccount(ctx, jobs[0].Account); err != nil {
		return err
	}
	fmt.Println("locked")
	select {} // until it is killed
}

func TestALockEndsWithItsProcess(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	user, _ := rotatable(t, v, "svc")
	j := newJob(t, v, user)
	c := start(t, "lock", dir)
	<-c.first
	_, err := v.LockAccount(t.Context(), j.Account)
	wants(t, err, pam.ErrConflict, `LAB\svc`, string(j.ID), fmt.Sprint(c.cmd.Process.Pid))
	j.State = pam.JobRunning
	must(t, v.SetJob(t.Context(), j))
	if got, err := v.Job(t.Context(), j.ID); err != nil || got.State != pam.JobRunning {
		t.Errorf("while its runner lives the job is %s, %v", got.State, err)
	}
	c.kill()
	if got, err := v.Job(t.Context(), j.ID); err != nil || got.State != pam.JobOpen {
		t.Errorf("after its runner's death the job is %s, %v", got.State, err)
	}
	l, err := v.LockAccount(t.Context(), j.Account)
	must(t, err)
	_, err = v.LockAccount(t.Context(), j.Account)
	wants(t, err, pam.ErrConflict, fmt.Sprint(os.Getpid()))
	must(t, l.Release())
	must(t, l.Release())
	_, err = v.LockAccount(t.Context(), "nosuch")
	wants(t, err, pam.ErrNotFound)
}

func createUnderUmask(ctx context.Context, dir string) error {
	syscall.Umask(0)
	v, err := openOrCreate(ctx, dir)
	if err != nil {
		return err
	}
	user, err := churnUser(ctx, v)
	if err != nil {
		return err
	}
	j, err := v.CreateJob(ctx, user, pam.JobOptions{})
	if err != nil {
		return err
	}
	if _, err := v.LockAccount(ctx, j.Account); err != nil {
		return err
	}
	fmt.Println("ready") // with log and lock files in place
	select {}
}

func TestOthersCannotReadTheFilesWhateverTheUmask(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "vault")
	c := start(t, "umask", dir)
	<-c.first
	seen := 0
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		must(t, err)
		info, err := d.Info()
		must(t, err)
		seen++
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		return nil
	}))
	if lines := c.kill(); seen < 8 || lines[0] != "ready" {
		t.Errorf("%d files, %q", seen, lines)
	}
}
