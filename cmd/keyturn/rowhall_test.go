package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"keyturn/commands"
	"keyturn/pkg/lab"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// The rows of the acceptance list as who types the commands meets them: a machine
// of a running lab, a rotation, what the command says, and what the machine is
// afterwards. The rows of a table share a lab and a vault; each has a machine and
// an account of its own. The machine's side of a row is played in pkg/lab/script,
// where the shipped script is held against the lab's answers.

// A cliRow is a row: its sentence, its machine, the command and what comes of it.
type cliRow struct {
	name  string
	where where
	build func(w *rowWorld) // fills the machine
	flags []string          // of rotate
	plan  map[string]string // action and reason of items of the dry run, where they tell something
	code  int
	late  bool // it is refused only when it is tried: no dry run knows
	// want is what is told of each item of the machine, and what it is then:
	// exhaustive, so that nothing else was touched.
	want    map[string]string
	says    []string          // in the result or the error, each once at least
	refused int               // log-ons as the account that were refused
	doubt   bool              // doubtful facts of Windows matter: played with each of them the other way too
	other   map[string]string // what want is then, where it differs
	then    func(w *rowWorld)
	play    func(w *rowWorld) // instead of all that
}

// where is where a row plays, apart from what usual rows have.
type where struct {
	spec      func(s *model.MachineSpec)
	sam       string // of the account; "" is svc_ID
	login     string // "" is LAB\sam
	authority string // the record that decides; "" is DC01, "." the machine itself
	password  string // of the account; "" is oldCanary
	unknown   bool   // its record has no password
	rules     string // of new passwords
	unmapped  bool   // nothing is mapped to the account
	ownAdmin  bool   // the machine's own Administrator logs in, not the domain's
	foreign   bool   // the account is none of those whose password we could know
}

const (
	oldCanary   = "0ld-Passw0rd-canary"
	adminCanary = "Adm1n-Passw0rd-canary"
	otherCanary = "0ther-Passw0rd-canary"
)

func plain(s string) secret.Value { return secret.New([]byte(s)) }

// A skipClock is real time that does not wait: whoever sleeps finds the time
// passed, and nobody loses a second.
type skipClock struct {
	mu    sync.Mutex
	ahead time.Duration
}

// Now is real time and all that was slept.
func (c *skipClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

// Sleep lets d have passed, unless ctx has ended.
func (c *skipClock) Sleep(ctx context.Context, d time.Duration) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
	return nil
}

// A hall is the lab and the vault that rows share.
type hall struct {
	dir     string
	key     string // a key file: no key is derived from a password
	anchors string
	domain  *model.Domain
	fleet   *lab.Fleet
	away    bool // the doubtful facts are the other way
}

// otherReadings is Windows where each doubtful fact is the less likely way.
var otherReadings = model.Readings{
	CredentialPerTask: true, ServiceBackup: true, ChangeValidates: true, TaskUserRewritten: true, DelayedGroupChanges: true,
}

// newHall starts a machine for each row, and makes the records of all.
func newHall(t *testing.T, rows []*rowWorld, away bool) *hall {
	t.Helper()
	h := &hall{dir: t.TempDir(), away: away}
	h.key, h.anchors = filepath.Join(h.dir, "ci.key"), filepath.Join(h.dir, "anchors")
	h.domain = model.NewDomain(model.PracticeDomain, model.PracticeDNS, h.policy())
	admin := plain(adminCanary)
	h.domain.Add(model.User{Sam: "Administrator", RID: 500, Password: plain(otherCanary)})
	h.domain.Add(model.User{Sam: "admin", RID: 1103, Password: admin})
	h.domain.Add(model.User{Sam: "helper", Password: admin})
	h.domain.Add(model.User{Sam: "nobody", Password: plain(otherCanary)})
	h.domain.Add(model.User{Sam: "gapp$", Password: plain(otherCanary), Managed: true})
	fleet := &model.Fleet{Domain: h.domain, Admin: admin, Service: plain(oldCanary), DC: h.machine(model.MachineSpec{Name: "DC01", DC: true, NoIIS: true})}
	for _, w := range rows {
		w.join(h)
		fleet.Servers = append(fleet.Servers, w.m)
	}
	var err error
	h.fleet, err = lab.Start(context.Background(), lab.Options{Fleet: fleet, Dir: filepath.Join(h.dir, "lab"), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.fleet.Close(); err != nil {
			t.Error(err)
		}
	})
	h.records(t, rows)
	return h
}

func (h *hall) policy() model.Policy {
	return model.Policy{
		LockoutThreshold: 5, MinLength: 9, History: 24, HistoryGrace: !h.away, OldAccepted: h.away, CountTwice: h.away,
	}
}

func (h *hall) machine(s model.MachineSpec) *model.Machine {
	s.Clock, s.Domain, s.Session, s.Policy = &skipClock{}, h.domain, model.PracticeAdmin, h.policy()
	if h.away {
		s.Readings = otherReadings
	}
	return model.NewMachine(s)
}

// file writes a file of the hall and returns its path.
func (h *hall) file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// records fills the vault, in one batch.
func (h *hall) records(t *testing.T, rows []*rowWorld) {
	t.Helper()
	d, err := h.fleet.Describe()
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{
		"init --kdf-memory 19456", "key add --new-key-file " + h.key,
		`record-add -rt pamUser -t "LAB admin" login=LAB\admin password=@` + h.file(t, "admin.password", adminCanary),
		`record-add -rt pamUser -t helper login=LAB\helper password=@` + h.file(t, "helper.password", adminCanary),
		`record-add -rt pamUser -t ITSADMIN login=.\Administrator password=@` + h.file(t, "admin.password", adminCanary),
		`pam config edit "Local Network" -a "LAB admin"`,
	}
	for _, m := range d.Machines {
		lines = append(lines, fmt.Sprintf("record-add -rt pamMachine -t %s pamHostname=%s:%d text.operatingSystem=windows c.text.serverPin=%s",
			m.Name, m.Host, m.Port, m.Pin))
	}
	dc := d.Machines[0]
	for _, name := range []string{"LAB", "HELPED"} {
		lines = append(lines, fmt.Sprintf("record-add -rt pamDirectory -t %s pamHostname=%s:%d checkbox.useSSL=true text.domainName=%s "+
			"directoryType=active_directory c.text.serverPin=%s", name, dc.Host, dc.LDAPSPort, model.PracticeDNS, dc.Pin))
	}
	lines = append(lines, "pam rotation edit -rs HELPED -a helper --force")
	for _, w := range rows {
		lines = append(lines, w.records(t)...)
	}
	batch := h.file(t, "rows.batch", strings.Join(lines, "\n"))
	if code, out, errs := h.keyturn("--password-file", h.file(t, "master", "correct horse battery staple\n"), "run-batch", batch); code != 0 {
		t.Fatalf("exit code %d: %s\n%s", code, errs, out)
	}
}

// keyturn runs a command line in this process, as main does. Only the runner of a
// job is no process of its own.
func (h *hall) keyturn(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	d := wire()
	d.In, d.Out, d.Err = strings.NewReader(""), &out, &errs
	nobody := func() bool { return false }
	d.InIsTerminal, d.OutIsTerminal, d.ErrIsTerminal = nobody, nobody, nobody
	d.Getenv = func(string) string { return "" }
	d.Session.Globals.VaultDir = filepath.Join(h.dir, "vault")
	if _, err := os.Stat(h.key); err == nil {
		d.Session.Globals.KeyFile = h.key
	}
	p := newProcess(d)
	defer p.close()
	p.anchors = h.anchors
	d.StartJob = p.jobHere
	code = commands.Run(context.Background(), d, args)
	return code, out.String(), errs.String()
}

// jobHere runs a job in this process, on a vault of its own like the runner's.
func (p *process) jobHere(ctx context.Context, job pam.Job) (commands.WaitJob, error) {
	v, err := p.vault(ctx)
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		key := v.Key()
		defer key.Destroy()
		ended <- p.runWith(context.WithoutCancel(ctx), key, job.ID)
	}()
	return func(ctx context.Context, _ func(pam.Job)) (pam.Job, error) {
		why := <-ended
		j, err := v.Job(ctx, job.ID)
		if err == nil && why != nil && !j.State.Terminal() {
			return j, commands.Unfinished(j, why)
		}
		return j, err
	}, nil
}
