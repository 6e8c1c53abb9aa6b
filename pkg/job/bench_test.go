package job

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"keyturn/pkg/executor"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/script"
	"keyturn/pkg/lab/winrmd"
	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
	"keyturn/pkg/remote/winrm"
	"keyturn/pkg/secret"
)

// A benchHost is one practice machine behind a real WinRM service, whose script
// takes its time.
type benchHost struct {
	*model.Machine
	work  time.Duration
	front *winrmd.Server
}

func (h *benchHost) Authenticate(_ context.Context, l winrmd.Login) (string, bool) {
	who, code, err := h.Prove(l.User, l.Domain, func(p secret.Value) bool { return l.Check(string(p.Reveal())) })
	return who.Account, err == nil && code == model.OK
}

func (h *benchHost) Run(ctx context.Context, _ winrmd.Command, in io.Reader, out, _ io.Writer) int {
	if h.work > 0 {
		timer := time.NewTimer(h.work)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return script.ExitKilled
		}
	}
	// What a script writes in one go arrives in one piece.
	var text bytes.Buffer
	code := script.Answer(ctx, h.Machine, "", in, &text)
	_, _ = out.Write(text.Bytes())
	return code
}

// A benchFleet is a practice domain over WinRM, and a job that rotates its
// service account.
type benchFleet struct {
	*scene
	fleet *model.Fleet
	hosts []*benchHost
}

// startBench starts a domain controller and servers. The domain locks nobody out:
// a budget of failed log-ons would be measured instead of the engine.
func startBench(tb testing.TB, servers int, work time.Duration) *benchFleet {
	tb.Helper()
	fleet, err := model.Practice(model.PracticeOptions{
		Servers: servers, Random: rand.Reader, Clock: model.NewStepClock(time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)),
	})
	if err != nil {
		tb.Fatal(err)
	}
	fleet.Domain.SetPolicy(model.Policy{MinLength: 8})
	f := &benchFleet{scene: newScene(0, false), fleet: fleet}
	f.prepare(fleet.Admin, fleet.Service)
	for n, m := range fleet.Machines() {
		h := &benchHost{Machine: m, work: work}
		h.front, err = winrmd.Start(winrmd.Options{
			Host: h, Name: m.Name(), Domain: model.PracticeDomain, DNSDomain: model.PracticeDNS, Now: time.Now,
		})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = h.front.Close() })
		f.hosts = append(f.hosts, h)
		f.enlist(n, f.machine(tb, h))
	}
	return f
}

// prepare is a job for the practice domain's service account.
func (f *benchFleet) prepare(admin, service secret.Value) {
	f.store.account.Name = model.PracticeService
	f.store.admin = pam.Login{Record: uid("L"), Title: "LAB admin", User: model.PracticeAdmin, Password: admin}
	f.store.gens[0].Password = service
	f.newJob()
	f.store.job.AccountName = model.PracticeService
}

// enlist makes the record of a machine; the first one decides the password.
func (f *benchFleet) enlist(n int, m pam.Machine) {
	m.UID = pam.UID(fmt.Sprintf("m%021d", n))
	f.store.machines[m.UID] = m
	if n == 0 {
		f.store.settings.Resource = m.UID
		return
	}
	f.store.mappings = append(f.store.mappings, pam.Mapping{User: uid("U"), Machine: m.UID, Kinds: pam.MapAll})
}

func (*benchFleet) machine(tb testing.TB, h *benchHost) pam.Machine {
	tb.Helper()
	host, port, err := net.SplitHostPort(h.front.Address())
	if err != nil {
		tb.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		tb.Fatal(err)
	}
	return pam.Machine{
		Title: h.Name(), OperatingSystem: "windows", Transport: pam.WinRM, Host: host, Port: number, ServerPin: h.front.Pin(),
	}
}

func (f *benchFleet) rotate(tb testing.TB, by executor.Executor) {
	tb.Helper()
	e := New(Config{
		Store: f.store, Executor: by, Random: rand.Reader, Log: slog.New(slog.DiscardHandler), Now: f.now,
		ReadFile: func(string) ([]byte, error) { return nil, errors.New("no files here") },
		Lock:     func(context.Context, pam.UID) (func() error, error) { return func() error { return nil }, nil },
	})
	j, err := e.Run(tb.Context(), f.store.job.ID)
	if err != nil || j.State != pam.JobFinished {
		tb.Fatalf("%s: %s, %v", j.State, j.Message, err)
	}
}

func throughWinRM() executor.Options {
	return executor.Options{
		Dialers: map[pam.Transport]remote.Dialer{pam.WinRM: winrm.NewDialer(winrm.Options{Now: time.Now})},
		Random:  rand.Reader, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
}

// twentyItems fills a server up to twenty items that run as the service account.
func twentyItems(m *model.Machine, password secret.Value) {
	for n := range 20 - 6 {
		m.AddService(model.ServiceSpec{
			Name: fmt.Sprintf("Extra%d", n), StartName: model.PracticeService, Password: password,
		}, model.Running)
	}
}

// noting calls before with every request.
type noting struct {
	executor.Executor
	before func(executor.Request)
}

func (n noting) Do(ctx context.Context, op executor.Op, on func(executor.Event)) (executor.Result, error) {
	n.before(op.Request)
	return n.Executor.Do(ctx, op, on)
}

// A cost is what one machine was asked in a rotation.
type cost struct {
	requests    int // of WS-Management, the polls of the running restart apart
	polls       int // those
	logIns      int
	connections int
	challenges  int // answers 401: what the log-ins take beside
}

// oneMachine rotates twenty items on one machine and counts.
func oneMachine(tb testing.TB) cost {
	tb.Helper()
	f := startBench(tb, 1, 0)
	twentyItems(f.hosts[1].Machine, f.fleet.Service)
	front, before := f.hosts[1].front, 0
	f.rotate(tb, noting{executor.NewEmbedded(throughWinRM()), func(r executor.Request) {
		if _, restart := r.(executor.Restart); restart {
			before = front.Counts().Phases[winrmd.PhaseReceive]
		}
	}})
	for _, s := range f.hosts[1].View().Services {
		if s.StoresSecret && s.State == model.Running && strings.HasPrefix(s.Name, "Extra") && (!s.CredentialOK || s.Restarts != 1) {
			tb.Errorf("%+v", s)
		}
	}
	n := front.Counts()
	c := cost{logIns: n.LogIns, connections: n.Connections, challenges: n.Unauthorized, polls: n.Phases[winrmd.PhaseReceive] - before}
	for _, k := range n.Phases {
		c.requests += k
	}
	c.requests -= c.polls
	return c
}

// maxRequests is what one machine may cost for look, update and restart of twenty
// items, the polls of the running restart apart.
const maxRequests = 16

func TestOneMachineCostsSixteenRequestsAndALogInAPhase(t *testing.T) {
	t.Parallel()
	if c := oneMachine(t); c.requests > maxRequests || c.logIns != 3 || c.connections != 3 {
		t.Errorf("%+v: want at most %d requests, three connections and a log-in on each", c, maxRequests)
	}
}

func BenchmarkOneMachine(b *testing.B) {
	var c cost
	for b.Loop() {
		c = oneMachine(b)
	}
	b.ReportMetric(float64(c.requests), "requests")
	b.ReportMetric(float64(c.polls), "polls")
	b.ReportMetric(float64(c.logIns), "log-ins")
	b.ReportMetric(float64(c.connections), "connections")
	b.ReportMetric(float64(c.challenges), "challenges")
}

const (
	benchMachines = 200
	benchLatency  = 20 * time.Millisecond
	benchWork     = 300 * time.Millisecond
)

// A benchPlace is one machine of a fleet in another process.
type benchPlace struct {
	Name, Host, Pin string
	Port            int
}

// A benchDescription is what that process says of itself.
type benchDescription struct {
	Machines       []benchPlace
	Admin, Service string
}

const serveFleet = "KEYTURN_BENCH_FLEET"

// TestServeBenchFleet is no test: it is the process of BenchmarkFleet's machines,
// whose memory is not to be measured. It ends with its standard input.
func TestServeBenchFleet(t *testing.T) {
	if os.Getenv(serveFleet) == "" {
		t.Skip("only BenchmarkFleet runs it")
	}
	f := startBench(t, benchMachines, benchWork)
	d := benchDescription{Admin: string(f.fleet.Admin.Reveal()), Service: string(f.fleet.Service.Reveal())}
	for _, h := range f.hosts {
		h.front.SetFaults(winrmd.Faults{Latency: benchLatency})
		m := f.machine(t, h)
		d.Machines = append(d.Machines, benchPlace{h.Name(), m.Host, m.ServerPin, m.Port})
	}
	line, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stdout.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// startFleet starts that process, and returns a job for its machines.
func startFleet(b *testing.B) (f *benchFleet, places []benchPlace) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestServeBenchFleet$")
	cmd.Env = append(os.Environ(), serveFleet+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	var d benchDescription
	if err := json.NewDecoder(out).Decode(&d); err != nil {
		b.Fatal(err)
	}
	f = &benchFleet{scene: newScene(0, false)}
	f.prepare(secret.New([]byte(d.Admin)), secret.New([]byte(d.Service)))
	for n, p := range d.Machines {
		f.enlist(n, p.machine())
	}
	return f, d.Machines
}

func (p benchPlace) machine() pam.Machine {
	return pam.Machine{
		Title: p.Name, OperatingSystem: "windows", Transport: pam.WinRM, Host: p.Host, Port: p.Port, ServerPin: p.Pin,
	}
}

// BenchmarkFleet rotates the password of 200 machines, and has a client that does
// nothing but send what the engine sends, in the engine's order: its canaries and
// waves are policy, what takes longer than that is ours. The machines are another
// process, but share the processors: on a busy computer the ratio says little.
func BenchmarkFleet(b *testing.B) {
	var engine, minimal time.Duration
	var peak, resident uint64
	for b.Loop() {
		f, places := startFleet(b)
		limit := debug.SetMemoryLimit(MemoryLimit) // as the job's process does
		watch := watchMemory()
		begun := time.Now()
		f.rotate(b, executor.NewEmbedded(throughWinRM()))
		engine += time.Since(begun)
		peak = max(peak, watch())
		resident = max(resident, residentPeak(b))
		debug.SetMemoryLimit(limit)
		begun = time.Now()
		bareClient(b, places, f.store.admin.Password)
		minimal += time.Since(begun)
	}
	b.ReportMetric(float64(engine)/float64(minimal), "ratio")
	b.ReportMetric(engine.Seconds()/float64(b.N), "s/rotation")
	b.ReportMetric(float64(peak)/(1<<20), "MiB-of-Go")
	if resident > 0 {
		b.ReportMetric(float64(resident)/(1<<20), "MiB")
	}
}

// residentPeak is the most memory that this process ever had, the program's own
// pages with it, as Linux counts it; 0 elsewhere. Before the rotation the process
// has built next to nothing, and the machines are another one.
func residentPeak(tb testing.TB) uint64 {
	tb.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == "VmHWM:" {
			kib, err := strconv.ParseUint(words[1], 10, 64)
			if err != nil {
				tb.Fatal(err)
			}
			return kib << 10
		}
	}
	return 0
}

// watchMemory samples how much memory the process has from its system, which
// becomes its resident set.
func watchMemory() (peak func() uint64) {
	var m runtime.MemStats
	var most uint64
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				runtime.ReadMemStats(&m)
				most = max(most, m.Sys-m.HeapReleased)
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() uint64 {
		cancel()
		<-done
		return most
	}
}

// bareClient sends three scripts to the authority and three to each machine, a
// session each: all at once, after one, and in waves.
func bareClient(tb testing.TB, places []benchPlace, admin secret.Value) {
	tb.Helper()
	dialer := winrm.NewDialer(winrm.Options{Now: time.Now})
	call := func(p benchPlace) {
		s, err := dialer.Dial(tb.Context(), remote.Target{
			Endpoint: remote.Endpoint{Transport: pam.WinRM, Host: p.Host, Port: p.Port, Pin: p.Pin},
			User:     model.PracticeAdmin, Password: admin,
		})
		if err == nil {
			_, err = powershell.Call(tb.Context(), s, rand.Reader, powershell.Request{Op: powershell.OpPing, Run: "bare"}, nil, nil)
			_ = s.Close()
		}
		if err != nil {
			tb.Error(err)
		}
	}
	all := func(places []benchPlace) {
		var wg sync.WaitGroup
		for _, p := range places {
			wg.Go(func() { call(p) })
		}
		wg.Wait()
	}
	servers := places[1:]
	call(places[0])  // check
	all(servers)     // look
	call(places[0])  // set
	call(places[0])  // verify
	all(servers[:1]) // the first proof is alone
	all(servers[1:])
	for wave := 1; len(servers) > 0; wave *= 2 {
		n := min(wave, len(servers))
		all(servers[:n])
		servers = servers[n:]
	}
}
