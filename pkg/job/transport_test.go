package job

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/script"
	"keyturn/pkg/lab/winrmd"
	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
	"keyturn/pkg/remote/winrm"
	"keyturn/pkg/secret"
)

// A wiredScene is a labScene whose machines are reached over WinRM, for real: the
// rows of the acceptance list that are about the transport are told here, by what
// becomes of a whole job.
type wiredScene struct {
	*labScene
	fronts map[string]*winrmd.Server
	hosts  map[string]*wiredHost
}

// A wiredHost is one machine behind its WinRM service.
type wiredHost struct {
	machine *model.Machine
	admin   secret.Value

	betray bool // it says all secrets that it is given
	mu     sync.Mutex
	ran    map[powershell.Op]int
	tell   func(op powershell.Op, out io.Writer) io.Writer // what the machine writes its answer to; nil: as it is
}

func (h *wiredHost) Authenticate(_ context.Context, l winrmd.Login) (string, bool) {
	return model.PracticeAdmin, l.Check(string(h.admin.Reveal()))
}

func (h *wiredHost) Run(ctx context.Context, _ winrmd.Command, in io.Reader, out, _ io.Writer) int {
	frame, err := io.ReadAll(in)
	if err != nil {
		return script.ExitKilled
	}
	op := powershell.Op("")
	if f, err := powershell.ReadFrame(bytes.NewReader(frame)); err == nil {
		if op = f.Request.Op; h.betray {
			out = traitor{out, f}
		}
	}
	h.mu.Lock()
	h.ran[op]++
	tell := h.tell
	h.mu.Unlock()
	if tell != nil {
		out = tell(op, out)
	}
	return script.Answer(ctx, h.machine, "", bytes.NewReader(frame), out)
}

// times is how often an op arrived whole.
func (h *wiredHost) times(op powershell.Op) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ran[op]
}

func (h *wiredHost) lie(tell func(op powershell.Op, out io.Writer) io.Writer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tell = tell
}

func newWiredScene(t *testing.T, servers int) *wiredScene {
	t.Helper()
	w := &wiredScene{newLabScene(t, servers), map[string]*winrmd.Server{}, map[string]*wiredHost{}}
	for uid, m := range w.store.machines {
		h := &wiredHost{machine: w.net.machines[m.Title], admin: w.fleet.Admin, ran: map[powershell.Op]int{}}
		front, err := winrmd.Start(winrmd.Options{Host: h, Name: m.Title, Now: time.Now, Offers: []string{"Basic"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = front.Close() })
		host, port, err := net.SplitHostPort(front.Address())
		if err != nil {
			t.Fatal(err)
		}
		m.Host, m.ServerPin = host, front.Pin()
		if m.Port, err = strconv.Atoi(port); err != nil {
			t.Fatal(err)
		}
		w.store.machines[uid], w.fronts[m.Title], w.hosts[m.Title] = m, front, h
	}
	dialer := winrm.NewDialer(winrm.Options{
		Now: time.Now, Connect: 5 * time.Second, Operation: 200 * time.Millisecond, Grace: 2 * time.Second, Closing: time.Second,
		Backoff: time.Millisecond,
	})
	w.dialers = map[pam.Transport]remote.Dialer{pam.WinRM: dialer}
	return w
}

// requests are what a machine was asked, of every kind.
func (w *wiredScene) requests(machine string) int {
	n := 0
	for _, of := range w.fronts[machine].Counts().Phases {
		n += of
	}
	return n
}

// nothing checks that no machine and no password changed.
func (w *wiredScene) nothing() {
	w.t.Helper()
	v, _ := w.fleet.Domain.User("svc_app")
	g, err := w.store.Generation(w.t.Context(), "", pam.Current)
	if v.Changes != 0 || w.stops() != 0 || err != nil || !w.fleet.Domain.Matches("svc_app", g.Password) || len(w.store.gens) != 1 {
		w.t.Errorf("%d changes, %d stops, %d generations, %v", v.Changes, w.stops(), len(w.store.gens), err)
	}
	for name, h := range w.hosts {
		if n := h.times(powershell.OpUpdate) + h.times(powershell.OpPassword) + h.times(powershell.OpRestart); n != 0 {
			w.t.Errorf("%s was asked for %d changes", name, n)
		}
	}
}

// A cutter passes on what a machine says of an update, and breaks every answer
// from the third item on: the first is on its way by then.
type cutter struct {
	io.Writer
	front       *winrmd.Server
	lines, seen int
}

func (c *cutter) received() int { return c.front.Counts().Phases[winrmd.PhaseReceive] }

func (c *cutter) await(more int) {
	for end := time.Now().Add(time.Minute); c.received() <= more && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

func (c *cutter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	if !bytes.Contains(p, []byte(`"phase":"update"`)) {
		return n, err
	}
	switch c.lines++; c.lines {
	case 1:
		c.seen = c.received()
	case 3:
		c.await(c.seen) // who asks after the first line gets it
		c.front.SetFaults(winrmd.Faults{Drop: winrmd.Point{Phase: winrmd.PhaseReceive}})
		c.await(c.received()) // and who asks from now on gets nothing
	}
	return n, err
}

// A noisy writer says something of its own before each line.
type noisy struct {
	io.Writer
	noise string
}

func (n noisy) Write(p []byte) (int, error) {
	if _, err := io.WriteString(n.Writer, n.noise); err != nil {
		return 0, err
	}
	return n.Writer.Write(p)
}

func only(op powershell.Op, change func(io.Writer) io.Writer) func(powershell.Op, io.Writer) io.Writer {
	return func(o powershell.Op, out io.Writer) io.Writer {
		if o == op {
			return change(out)
		}
		return out
	}
}

type wiredRow struct {
	name string
	tell func(w *wiredScene)
}

func TestRowsOfTheTransport(t *testing.T) {
	t.Parallel()
	for _, r := range slices.Concat(inputRows(), outputRows(), serviceRows()) {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			w := newWiredScene(t, 2)
			r.tell(w)
			if v, _ := w.fleet.Domain.User("svc_app"); v.Locked || w.failed() != 0 {
				t.Errorf("%d log-ons as the account failed", w.failed())
			}
		})
	}
}

func inputRows() []wiredRow {
	send := func(n int) winrmd.Point { return winrmd.Point{Phase: winrmd.PhaseSend, N: n, Early: true} }
	return []wiredRow{
		{"T01 the first piece of input is refused: nothing ran there, and nothing changed", func(w *wiredScene) {
			w.fronts["SRV1"].SetFaults(winrmd.Faults{Fail: send(1)})
			j := w.must(1)
			if w.nothing(); w.hosts["SRV1"].times(powershell.OpLook) != 0 || !strings.Contains(j.Message, "SRV1") {
				w.t.Errorf("%v; %s", w.hosts["SRV1"].ran, j.Message)
			}
		}},
		{"T02 a piece of input is acknowledged and lost: the frame is not whole, and nothing ran", func(w *wiredScene) {
			w.fronts["SRV1"].SetFaults(winrmd.Faults{LoseChunk: 1})
			j := w.must(1)
			if w.nothing(); !strings.Contains(j.Message, "transport_") {
				w.t.Errorf("%s", j.Message)
			}
		}},
		{"T11 a machine in constrained language: refused in the look", func(w *wiredScene) {
			w.fleet.Servers[0].Bend(func(s *model.MachineSpec) { s.Constrained = true })
			j := w.must(1)
			if w.nothing(); !strings.Contains(j.Message, powershell.ClassConstrained) {
				w.t.Errorf("%s", j.Message)
			}
		}},
		{"T12 an admin with a filtered token: refused in the look", func(w *wiredScene) {
			w.fleet.Servers[0].Bend(func(s *model.MachineSpec) { s.Filtered = true })
			j := w.must(1)
			if w.nothing(); !strings.Contains(j.Message, powershell.ClassNotElevated) {
				w.t.Errorf("%s", j.Message)
			}
		}},
	}
}

func outputRows() []wiredRow {
	receive := func(n int) winrmd.Point { return winrmd.Point{Phase: winrmd.PhaseReceive, N: n, Early: true} }
	return []wiredRow{
		{"T03 an answer of the update is cut off: it is asked for again", func(w *wiredScene) {
			w.hosts["SRV1"].lie(only(powershell.OpUpdate, func(out io.Writer) io.Writer {
				w.fronts["SRV1"].SetFaults(winrmd.Faults{Drop: receive(1)})
				return out
			}))
			w.must(0)
			w.allGood()
			if w.hosts["SRV1"].times(powershell.OpUpdate) != 1 {
				w.t.Errorf("%v", w.hosts["SRV1"].ran)
			}
		}},
		{"T03 and no answer comes any more: what was heard is known, the rest is not, and resume does it again", func(w *wiredScene) {
			w.hosts["SRV1"].lie(only(powershell.OpUpdate, func(out io.Writer) io.Writer {
				return &cutter{Writer: out, front: w.fronts["SRV1"]}
			}))
			j := w.must(6)
			known, unknown := 0, 0
			for _, i := range j.Items {
				switch {
				case i.MachineTitle != "SRV1" || i.Phase != pam.PhaseUpdate:
				case i.Status == pam.StatusOK:
					known++
				case i.Status == pam.StatusUnknown:
					unknown++
				}
			}
			if known == 0 || unknown == 0 || w.stopsOn("SRV2") == 0 {
				w.t.Errorf("%d known, %d unknown: %s", known, unknown, j.Message)
			}
			w.inForce()
			w.fronts["SRV1"].SetFaults(winrmd.Faults{})
			w.hosts["SRV1"].lie(nil)
			w.must(0)
			w.allGood()
			if v, _ := w.fleet.Domain.User("svc_app"); v.Changes != 1 {
				w.t.Errorf("%d passwords", v.Changes)
			}
		}},
		{"T07 a machine that fails for ever: the job gives up after a few requests", func(w *wiredScene) {
			w.fronts["SRV1"].SetFaults(winrmd.Faults{Fail: winrmd.Point{Phase: winrmd.PhaseReceive}})
			j := w.must(1)
			if w.nothing(); w.requests("SRV1") >= 20 || !strings.Contains(j.Message, "SRV1") {
				w.t.Errorf("%d requests: %s", w.requests("SRV1"), j.Message)
			}
		}},
		{"T08 five answers that there is nothing yet: the job goes on", func(w *wiredScene) {
			first := make(chan struct{})
			w.hosts["SRV1"].lie(only(powershell.OpLook, func(out io.Writer) io.Writer { return silent{out, first} }))
			go func() { // the machine says its first word after the fifth question
				for n := 0; n < 6; {
					time.Sleep(20 * time.Millisecond)
					n = w.fronts["SRV1"].Counts().Phases[winrmd.PhaseReceive]
				}
				close(first)
			}()
			w.must(0)
			w.allGood()
		}},
		{"T10 noise between the lines is ignored, and none of it is believed", func(w *wiredScene) {
			profile := "WARNING: profile loaded\r\n#< CLIXML\r\n" + `#WSX {"t":"bye","n":"00","code":0,"counts":{"lines":1}}` + "\r\n"
			for _, h := range w.hosts {
				h.lie(func(_ powershell.Op, out io.Writer) io.Writer { return noisy{out, profile} })
			}
			j := w.must(0)
			w.allGood()
			if strings.Contains(fmt.Sprint(j), "profile loaded") {
				w.t.Error("the noise is in the job")
			}
		}},
		{"T14 a machine that writes without measure is cut off, and nothing changed", func(w *wiredScene) {
			w.hosts["SRV1"].lie(only(powershell.OpLook, func(out io.Writer) io.Writer {
				return noisy{out, strings.Repeat(strings.Repeat("x", 1<<10-1)+"\n", 12<<10)}
			}))
			j := w.must(1)
			if w.nothing(); !strings.Contains(j.Message, "bytes") {
				w.t.Errorf("%s", j.Message)
			}
		}},
		{"T15 a machine that says passwords back, in lines and in noise: no word of the job and of its log holds one", func(w *wiredScene) {
			var log bytes.Buffer
			w.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			for _, h := range w.hosts {
				h.betray = true
			}
			j, _ := w.job()
			told := fmt.Sprintf("%+v %+v %s", j, w.store.deployed, log.String())
			for _, i := range j.Items {
				told += fmt.Sprintf(" %+v", i.Error)
			}
			for _, g := range w.store.gens {
				for form, text := range formsOf(g.Password) {
					if strings.Contains(told, text) {
						w.t.Errorf("password %d is told as %s", g.Number, form)
					}
				}
			}
			if !strings.Contains(told, "somebody said") {
				w.t.Error("the machine was not heard at all")
			}
		}},
	}
}

func formsOf(v secret.Value) map[string]string {
	raw := string(v.Reveal())
	return map[string]string{"text": raw, "base64": base64.StdEncoding.EncodeToString([]byte(raw))}
}

// A traitor puts the secrets of the frame into what the machine says of a
// service, and says them beside it.
type traitor struct {
	io.Writer
	frame powershell.Frame
}

func (b traitor) Write(p []byte) (int, error) {
	var line powershell.Line
	text, ok := bytes.CutPrefix(p, []byte("#WSX "))
	if !ok || json.Unmarshal(text, &line) != nil || line.Phase != "update" || line.ID != "OrdersApi" {
		return b.Writer.Write(p)
	}
	words := "somebody said"
	for _, s := range b.frame.Secrets {
		for _, text := range formsOf(s) {
			words += " " + text
		}
	}
	line.Status, line.Err = "failed", &powershell.Err{Class: powershell.ClassAccessDenied, Msg: words}
	_, _ = io.WriteString(b.Writer, words+"\n")
	return len(p), powershell.WriteLine(b.Writer, line)
}

// A silent machine says nothing until it is told to.
type silent struct {
	io.Writer
	first chan struct{}
}

func (s silent) Write(p []byte) (int, error) {
	<-s.first
	return s.Writer.Write(p)
}

func serviceRows() []wiredRow {
	return []wiredRow{
		{"T05 an interrupt in the restart phase: the job goes on to its end, and ends no command before the command does", func(w *wiredScene) {
			ctx, interrupt := context.WithCancel(w.t.Context())
			defer interrupt()
			signalled := -1
			w.fleet.Servers[0].Hook(func(e model.Event) {
				if e.Kind == model.ServiceStopped {
					interrupt()
				}
				if e.Kind == model.ServiceStarted && signalled < 0 {
					signalled = w.fronts["SRV1"].Counts().Phases[winrmd.PhaseSignal]
				}
			})
			before := w.fronts["SRV1"].Counts().Phases[winrmd.PhaseSignal]
			j, err := w.engine().Run(ctx, w.store.job.ID)
			if err != nil || j.ExitCode() != 0 || ctx.Err() == nil || signalled != before {
				w.t.Errorf("%d, %v, interrupted: %v, %d commands were ended: %s", j.ExitCode(), err, ctx.Err(), signalled-before, j.Message)
			}
			w.allGood()
		}},
		{"a connection that breaks in the look is opened once more, for nothing has changed", func(w *wiredScene) {
			w.fronts["SRV1"].SetFaults(winrmd.Faults{Drop: winrmd.Point{Phase: winrmd.PhaseReceive, Early: true}})
			looks := 0
			w.hosts["SRV1"].lie(only(powershell.OpLook, func(out io.Writer) io.Writer {
				if looks++; looks == 2 {
					w.fronts["SRV1"].SetFaults(winrmd.Faults{})
				}
				return out
			}))
			w.must(0)
			if w.allGood(); w.hosts["SRV1"].times(powershell.OpLook) != 2 {
				w.t.Errorf("%v", w.hosts["SRV1"].ran)
			}
		}},
		{"a machine on which no connection lasts cannot be reached: nothing changed, and it may be left for later", func(w *wiredScene) {
			w.fronts["SRV1"].SetFaults(winrmd.Faults{Drop: winrmd.Point{Phase: winrmd.PhaseReceive}})
			j := w.must(5)
			if w.nothing(); !strings.Contains(j.Message, "SRV1") || !strings.Contains(j.Message, "(3 times)") || !strings.Contains(j.Hint, "--skip-unreachable") {
				w.t.Errorf("%s; %s", j.Message, j.Hint)
			}
			w.fresh()
			w.store.job.Options.SkipUnreachable = true
			w.must(6)
			w.allGood("SRV1")
		}},
		{"T09 the quota of operations is used up once: a new shell is opened, and the job goes on", func(w *wiredScene) {
			w.fronts["SRV1"].SetFaults(winrmd.Faults{
				Fail: winrmd.Point{Phase: winrmd.PhaseCommand, N: 1, Early: true}, FailWith: winrmd.FaultOperations,
			})
			w.must(0)
			w.allGood()
		}},
		{"T04 the connection breaks between stop and start: the script goes on, and output is asked for again", func(w *wiredScene) {
			w.fleet.Servers[0].Hook(func(e model.Event) {
				if e.Kind == model.ServiceStopped {
					w.fronts["SRV1"].SetFaults(winrmd.Faults{Drop: winrmd.Point{Phase: winrmd.PhaseReceive, N: 1, Early: true}})
				}
			})
			w.must(0)
			w.allGood()
		}},
	}
}
