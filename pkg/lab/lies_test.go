package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyturn/pkg/dependency"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/script"
	"keyturn/pkg/lab/sshd"
	"keyturn/pkg/lab/winrmd"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/remote/ssh"
	"keyturn/pkg/remote/winrm"
	"keyturn/pkg/secret"
)

// A want is what a lie must lead to, whatever is asked for.
type want int

const (
	fails  want = iota // an error
	truth              // the true answer: the lie is seen through
	either             // an error or the true answer
)

// A lie is what a machine says in place of the truth.
type lie struct {
	name string
	want want
	// tell answers a command; nil tells the truth.
	tell func(c *cheat) int
	// winrm and ssh are faults of the services. A lie with one of them and no tell
	// is for those transports only.
	winrm *winrmd.Faults
	ssh   *sshd.Faults
	// large says that the machine says much, which takes more requests; slow that
	// only the caller's deadline ends it.
	large, slow bool
}

func (l lie) isFor(transport pam.Transport) bool {
	switch {
	case l.tell != nil || l.winrm == nil && l.ssh == nil:
		return true
	case transport == pam.SSH:
		return l.ssh != nil
	default:
		return l.winrm != nil
	}
}

// A cheat is one command whose machine may lie.
type cheat struct {
	ctx       context.Context
	machine   *liar
	in        []byte
	out, errs io.Writer
}

// honest carries the command out with in as its input, and returns the lines
// that it would have written and its exit code.
func (c *cheat) honest(in []byte) (lines []string, exit int) {
	var b bytes.Buffer
	exit = script.Answer(c.ctx, c.machine.srv, c.machine.journal, bytes.NewReader(in), &b)
	for line := range strings.Lines(b.String()) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines, exit
}

func (c *cheat) say(lines ...string) {
	for _, l := range lines {
		_, _ = io.WriteString(c.out, l+"\n")
	}
}

// A liar is a machine of the practice domain that can be reached and may lie.
type liar struct {
	srv     *model.Machine
	fleet   *model.Fleet
	journal string
	winrm   *winrmd.Server
	ssh     *sshd.Server

	mu      sync.Mutex
	tell    func(*cheat) int
	earlier []string // what the last honest answer was
}

const liarPassword = "c4nary-of-the-Admin"

func (m *liar) setLie(tell func(*cheat) int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tell = tell
}

func (m *liar) run(ctx context.Context, in io.Reader, out, errs io.Writer) int {
	input, err := io.ReadAll(in)
	if err != nil {
		return exitKilled
	}
	m.mu.Lock()
	tell := m.tell
	m.mu.Unlock()
	c := &cheat{ctx: ctx, machine: m, in: input, out: out, errs: errs}
	if tell != nil {
		return tell(c)
	}
	lines, exit := c.honest(c.in)
	m.mu.Lock()
	m.earlier = lines
	m.mu.Unlock()
	c.say(lines...)
	return exit
}

type liarWinRM struct{ *liar }

func (m liarWinRM) Authenticate(_ context.Context, l winrmd.Login) (string, bool) {
	return `LAB\admin`, l.Check(liarPassword)
}

func (m liarWinRM) Run(ctx context.Context, _ winrmd.Command, in io.Reader, out, errs io.Writer) int {
	return m.run(ctx, in, out, errs)
}

type liarSSH struct{ *liar }

func (m liarSSH) Authenticate(_ context.Context, l sshd.Login) (string, bool) {
	return `LAB\admin`, l.Check != nil && l.Check(liarPassword)
}

func (m liarSSH) Run(ctx context.Context, _ sshd.Command, in io.Reader, out, errs io.Writer) int {
	return m.run(ctx, in, out, errs)
}

// newLiar starts a machine that tells the truth so far.
func newLiar(t *testing.T) *liar {
	t.Helper()
	fleet, err := model.Practice(model.PracticeOptions{
		Servers: 1, Random: rand.Reader, Clock: model.NewStepClock(time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)),
		StartDelay: 2 * time.Second, StopDelay: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	m := &liar{fleet: fleet, srv: fleet.Servers[0], journal: t.TempDir()}
	if m.winrm, err = winrmd.Start(winrmd.Options{Host: liarWinRM{m}, Name: "SRV1", Now: time.Now, Offers: []string{"Basic"}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.winrm.Close() })
	if m.ssh, err = sshd.Start(sshd.Options{Host: liarSSH{m}, Name: "SRV1", Shell: sshd.PowerShell}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.ssh.Close() })
	return m
}

// open logs in over a transport.
func (m *liar) open(ctx context.Context, transport pam.Transport) (dependency.Host, error) {
	var d remote.Dialer = winrm.NewDialer(winrm.Options{
		Now: time.Now, Connect: 5 * time.Second, Operation: time.Second, Grace: 2 * time.Second,
		Closing: 2 * time.Second, Backoff: 20 * time.Millisecond,
	})
	at := remote.Endpoint{Transport: transport, Pin: m.winrm.Pin(), HostKeys: []string{m.ssh.HostKey()}}
	address := m.winrm.Address()
	if transport == pam.SSH {
		d, address = ssh.NewDialer(ssh.Options{Timeout: 5 * time.Second}), m.ssh.Address()
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	at.Host = host
	if at.Port, err = strconv.Atoi(port); err != nil {
		return nil, err
	}
	target := remote.Target{Endpoint: at, User: `LAB\admin`, Password: secret.New([]byte(liarPassword))}
	return dependency.Open(ctx, d, target, dependency.Options{Random: rand.Reader, Now: m.srv.Clock().Now})
}

// requests are how often a transport was asked for something.
func (m *liar) requests(transport pam.Transport) int {
	if transport == pam.SSH {
		c := m.ssh.Counts()
		return c.Connections + c.Commands
	}
	n := 0
	for _, of := range m.winrm.Counts().Phases {
		n += of
	}
	return n + m.winrm.Counts().Unauthorized
}

const (
	liarRun  = pam.UID("AAAAAAAAAAAAAAAAAAAAAA")
	liarNext = "c4nary-of-svc_app-N3xt"
)

var liarKinds = []pam.DependencyKind{pam.KindService, pam.KindTask, pam.KindPool}

// An errand is an op, and what its success would have to mean.
type errand struct {
	name string
	do   func(ctx context.Context, h dependency.Host, on func(dependency.ItemResult)) (said string, err error)
	done func() error // nil: it is true that the op succeeded
}

// errands prepares one op of each kind; the machine tells the truth meanwhile.
func (m *liar) errands(t *testing.T, h dependency.Host) map[string]errand {
	t.Helper()
	u, _ := m.fleet.Domain.User("svc_app")
	subject := dependency.Subject{Login: `LAB\svc_app`, Identity: pam.Identity{Alias: u.SID, SID: u.SID, Name: `LAB\svc_app`}}
	look := func(ctx context.Context, h dependency.Host) (dependency.Inventory, error) {
		return h.Look(ctx, dependency.LookRequest{Run: liarRun, Subject: subject, Kinds: liarKinds})
	}
	before, err := look(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	plan, _ := dependency.PlanRestart(before, func(i dependency.Item) bool { return i.Target }, dependency.PlanOptions{})
	pid := m.srv.View().Service("OrdersApi").PID
	var seen string
	return map[string]errand{
		"look": {"look", func(ctx context.Context, h dependency.Host, _ func(dependency.ItemResult)) (string, error) {
			inv, err := look(ctx, h)
			seen = inventoryText(inv)
			return fmt.Sprintf("%+v", inv), err
		}, func() error { return same(seen, inventoryText(before)) }},
		"update": {"update", func(ctx context.Context, h dependency.Host, on func(dependency.ItemResult)) (string, error) {
			if code := m.fleet.Domain.Reset("svc_app", secret.New([]byte(liarNext))); code != model.OK {
				t.Errorf("reset: %v", code)
			}
			up, err := h.Update(ctx, dependency.UpdateRequest{Run: liarRun, Subject: subject, Kinds: liarKinds, Items: before.Items},
				secret.New([]byte(liarNext)), on)
			return fmt.Sprintf("%+v", up), err
		}, func() error { return m.holds("OrdersApi", "OrdersImport", "OrdersLegacy") }},
		"restart": {"restart", func(ctx context.Context, h dependency.Host, on func(dependency.ItemResult)) (string, error) {
			return "", h.Restart(ctx, liarRun, plan, on)
		}, func() error {
			if s := m.srv.View().Service("OrdersApi"); s.State != model.Running || s.PID == pid {
				return fmt.Errorf("OrdersApi was not restarted: %+v", s)
			}
			return nil
		}},
	}
}

// inventoryText is what an inventory says, apart from when.
func inventoryText(inv dependency.Inventory) string {
	lines := make([]string, 0, len(inv.Items))
	for _, i := range inv.Items {
		lines = append(lines, fmt.Sprintf("%s %s %s %s %d %t %s", i.Kind, i.Name, i.RunAs, i.State, i.PID, i.Target, i.Skip))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func same(got, want string) error {
	if got != want {
		return fmt.Errorf("said\n%s\nwant\n%s", got, want)
	}
	return nil
}

// holds reports services whose stored password does not log on.
func (m *liar) holds(services ...string) error {
	var errs []error
	for _, name := range services {
		if !m.srv.View().Service(name).CredentialOK {
			errs = append(errs, fmt.Errorf("%s does not hold the new password", name))
		}
	}
	return errors.Join(errs...)
}

// believe carries out an errand at a machine that lies, and checks what holds
// for every lie.
func believe(t *testing.T, l lie, transport pam.Transport, op string) {
	t.Helper()
	m := newLiar(t)
	h, err := m.open(t.Context(), transport)
	if err != nil {
		t.Fatal(err)
	}
	e := m.errands(t, h)[op]
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	m.setLie(l.tell)
	if l.winrm != nil {
		m.winrm.SetFaults(*l.winrm)
	}
	if l.ssh != nil {
		m.ssh.SetFaults(*l.ssh)
	}
	before := m.requests(transport)
	patience := 30 * time.Second
	if l.slow {
		patience = 1500 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var heard []dependency.ItemResult
	said := ""
	if h, err = m.open(ctx, transport); err == nil {
		said, err = e.do(ctx, h, func(r dependency.ItemResult) { heard = append(heard, r) })
		_ = h.Close()
	}
	if ctx.Err() != nil && !l.slow {
		t.Error("the lie kept us until the caller's deadline")
	}
	if n := m.requests(transport) - before; n >= 20 && !l.large {
		t.Errorf("the lie cost %d requests", n)
	}
	judge(t, l, e, err)
	m.checkHeard(t, op, heard)
	for _, text := range []string{said, fmt.Sprintf("%v %+v %+v", err, err, heard)} {
		wantNoSecret(t, text)
	}
}

func judge(t *testing.T, l lie, e errand, err error) {
	t.Helper()
	switch {
	case err != nil && l.want == truth:
		t.Errorf("the lie was not seen through: %v", err)
	case err != nil && pam.KindOf(err) == "":
		t.Errorf("an error without a kind: %v", err)
	case err == nil && l.want == fails:
		t.Error("a false success")
	case err == nil:
		if lied := e.done(); lied != nil {
			t.Errorf("a false success: %v", lied)
		}
	}
}

// checkHeard checks that what was reported done of an update is done.
func (m *liar) checkHeard(t *testing.T, op string, heard []dependency.ItemResult) {
	t.Helper()
	for _, r := range heard {
		if op == "update" && r.Kind == pam.KindService && r.Status.Done() && r.Status != pam.StatusSkipped {
			if err := m.holds(r.Name); err != nil {
				t.Errorf("reported as done: %v", err)
			}
		}
	}
}

func wantNoSecret(t *testing.T, text string) {
	t.Helper()
	for _, word := range []string{liarPassword, liarNext} {
		for _, form := range []string{word, base64.StdEncoding.EncodeToString([]byte(word))} {
			if strings.Contains(text, form) {
				t.Errorf("a secret is shown in %.300q", text)
			}
		}
	}
}

// TestLies holds the whole way, from a dependency.Host down to the services'
// bytes and back, against machines that lie: over each transport, for an op that
// changes nothing, one that needs a secret and one that needs none. Never a false
// success, never 20 requests against a lie, never a secret shown, and an end.
func TestLies(t *testing.T) {
	t.Parallel()
	if n := len(lies()); n < 60 {
		t.Errorf("only %d lies", n)
	}
	for _, l := range lies() {
		for _, transport := range []pam.Transport{pam.WinRM, pam.SSH} {
			if !l.isFor(transport) {
				continue
			}
			ops := []string{"look", "update", "restart"}
			if l.large {
				ops = ops[:1] // bytes are bytes
			}
			for _, op := range ops {
				t.Run(l.name+"/"+string(transport)+" "+op, func(t *testing.T) {
					t.Parallel()
					believe(t, l, transport, op)
				})
			}
		}
	}
}

// TestBulkyLiesTakeLittleMemory is not parallel: it looks at the whole process,
// the lying machine included.
func TestBulkyLiesTakeLittleMemory(t *testing.T) {
	const most = 128 << 20
	for _, l := range bulk() {
		for _, transport := range []pam.Transport{pam.WinRM, pam.SSH} {
			t.Run(l.name+" over "+string(transport), func(t *testing.T) {
				runtime.GC() // what others left
				var peak atomic.Uint64
				stop, stopped := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(stopped)
					tick := time.NewTicker(10 * time.Millisecond)
					defer tick.Stop()
					for {
						select {
						case <-stop:
							return
						case <-tick.C:
							var m runtime.MemStats
							runtime.ReadMemStats(&m)
							peak.Store(max(peak.Load(), m.HeapAlloc))
						}
					}
				}()
				believe(t, l, transport, "look")
				close(stop)
				<-stopped
				if p := peak.Load(); p > most {
					t.Errorf("%d MiB of memory", p>>20)
				} else {
					t.Logf("%d MiB", p>>20)
				}
			})
		}
	}
}
