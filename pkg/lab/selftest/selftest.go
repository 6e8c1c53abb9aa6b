// Package selftest is the first hour on a real Windows machine as a program: it
// asks the questions that no lab can answer (what the service manager does with
// a wrong password, what a registration of a task keeps, what is written to
// which log), and makes a report of question, answer and expectation.
//
// It connects with the product's own transports and sends a script of its own
// in the product's own frame. Unless it is told to create, it changes nothing.
// What it creates - one local account, one service, three tasks and one pool,
// whose names begin with keyturn-selftest - it removes again. It knows nothing
// of the vault and of jobs.
package selftest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/password"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// Options say what to test and how. Dialers, Random and Now are required.
type Options struct {
	// Target is the machine, and who logs in there: an administrator.
	Target remote.Target
	// SSH is a second way to the same machine; nil asks nothing over it.
	SSH     *remote.Target
	Dialers map[pam.Transport]remote.Dialer
	Random  io.Reader
	Now     func() time.Time
	// Create allows throw-away objects on the machine.
	Create bool
	// CutWait is how long the script sleeps while its connection is cut, and how
	// long is waited for its mark between looks; 0 is 5 s.
	CutWait time.Duration
	// Progress hears what is being done; nil is silence.
	Progress func(text string)
}

const (
	defaultCutWait = 5 * time.Second
	opTime         = 5 * time.Minute
	cleanupTime    = 2 * time.Minute
	// mostNoise is how much of what else a machine says is in the report.
	mostNoise = 500
	// bigFrame is how many bytes of padding test the input in many pieces.
	bigFrame = 1 << 20
)

// Run asks all questions and returns the report. The error is that of the first
// log-in: without it there is no report. Whatever fails later is in the report,
// and what was created is removed even when ctx ends.
func Run(ctx context.Context, o Options) (Report, error) {
	r, err := newRun(o)
	if err != nil {
		return Report{}, err
	}
	if err := r.ping(ctx, "main", o.Target); err != nil {
		return Report{}, err
	}
	r.big(ctx)
	if o.SSH != nil {
		if err := r.ping(ctx, "ssh", *o.SSH); err != nil {
			r.gap("ping.ssh", err.Error())
		}
	}
	r.look(ctx)
	r.ask(ctx, opFacts, nil)
	if o.Create {
		r.create(ctx)
	}
	r.ask(ctx, opEvents, r.needles())
	return r.report(), nil
}

// Cleanup removes what an interrupted run left, and reports what it did.
func Cleanup(ctx context.Context, o Options) (Report, error) {
	r, err := newRun(o)
	if err != nil {
		return Report{}, err
	}
	if err := r.ping(ctx, "main", o.Target); err != nil {
		return Report{}, err
	}
	r.ask(ctx, opCleanup, nil)
	return r.report(), nil
}

// A fact is one answer of the machine, or why there is none.
type fact struct {
	id, value, gap string
}

// A run is one selftest under way. It is used by one goroutine.
type run struct {
	o       Options
	script  []byte
	began   time.Time
	hello   powershell.Line
	machine powershell.Line
	facts   []fact
	failed  map[powershell.Op]string // why an op gave no, or not all, answers
	refused map[powershell.Op]bool   // it failed before anything ran
	done    map[powershell.Op]bool
	canary  secret.Value
	// practice says that the machine is one of the lab's.
	practice bool
	words    []secret.Value // the passwords of the throw-away account, in turn
	wrong    secret.Value
}

func newRun(o Options) (*run, error) {
	script, err := Script()
	if err != nil {
		return nil, err
	}
	if o.CutWait <= 0 {
		o.CutWait = defaultCutWait
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	r := &run{
		o: o, script: script, began: o.Now(), failed: map[powershell.Op]string{}, refused: map[powershell.Op]bool{},
		done: map[powershell.Op]bool{},
	}
	// Letters and digits only: they stand in events as they are.
	rules := password.Rules{Length: 24, Upper: 1, Lower: 1, Digits: 1}
	for range 4 {
		word, err := password.Generate(o.Random, rules)
		if err != nil {
			return nil, fmt.Errorf("draw a password: %w", err)
		}
		r.words = append(r.words, word)
	}
	for _, into := range []*secret.Value{&r.canary, &r.wrong} {
		if *into, err = password.Generate(o.Random, rules); err != nil {
			return nil, fmt.Errorf("draw a password: %w", err)
		}
	}
	return r, nil
}

func (r *run) fact(id, value string) { r.facts = append(r.facts, fact{id: id, value: value}) }
func (r *run) gap(id, why string)    { r.facts = append(r.facts, fact{id: id, gap: why}) }

// find is the last fact of that name.
func (r *run) find(id string) (fact, bool) {
	for _, f := range slices.Backward(r.facts) {
		if f.id == id {
			return f, true
		}
	}
	return fact{}, false
}

// with opens a session, lets do use it, and says how long both took.
func (r *run) with(ctx context.Context, t remote.Target, do func(context.Context, remote.Session) error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, opTime)
	defer cancel()
	dialer, ok := r.o.Dialers[t.Transport]
	if !ok {
		return 0, pam.Errorf(pam.ErrInvalidInput, "there is no transport %q; nothing was connected", t.Transport)
	}
	began := r.o.Now()
	s, err := dialer.Dial(ctx, t)
	if err != nil {
		return 0, fmt.Errorf("connect to the machine: %w", err)
	}
	err = do(ctx, s)
	return r.o.Now().Sub(began), errors.Join(err, s.Close())
}

func (r *run) request(op powershell.Op) powershell.Request {
	return powershell.Request{Op: op, Run: "keyturn-selftest"}
}

// ping is the shipped script's own ping: frame, digest, nonce and end line.
func (r *run) ping(ctx context.Context, way string, t remote.Target) error {
	r.o.Progress("ping over " + string(t.Transport))
	took, err := r.with(ctx, t, func(ctx context.Context, s remote.Session) error {
		a, err := powershell.Call(ctx, s, r.o.Random, r.request(powershell.OpPing), nil, nil)
		if err == nil && way == "main" {
			r.hello, r.machine = a.Hello, a.Machine
		}
		return err //nolint:wrapcheck // with wraps what comes of connecting
	})
	if err != nil {
		return err
	}
	r.fact("ping."+way, "ok")
	r.fact("ping."+way+".ms", millis(took))
	return nil
}

// big sends a ping whose frame needs many pieces of input.
func (r *run) big(ctx context.Context) {
	r.o.Progress("ping with a frame of more than a megabyte")
	padding := []secret.Value{r.canary, secret.New([]byte(strings.Repeat("keyturn-", bigFrame/8)))}
	took, err := r.with(ctx, r.o.Target, func(ctx context.Context, s remote.Session) error {
		_, err := powershell.Call(ctx, s, r.o.Random, r.request(powershell.OpPing), padding, nil)
		return err //nolint:wrapcheck // with wraps what comes of connecting
	})
	if err != nil {
		r.gap("stdin.big", err.Error())
		return
	}
	r.fact("stdin.big", "ok")
	r.fact("stdin.big.bytes", fmt.Sprint(bigFrame))
	r.fact("stdin.big.ms", millis(took))
}

// look is the shipped script's inventory, for the account that logged in.
func (r *run) look(ctx context.Context) {
	r.o.Progress("inventory of services, tasks and pools")
	sam := r.machine.User[strings.LastIndex(r.machine.User, `\`)+1:]
	req := r.request(powershell.OpLook)
	req.Target = &powershell.Account{Names: []string{r.machine.User}, Sam: sam, LogonUser: sam}
	req.Kinds = []string{"service", "task", "iis_pool"}
	took, err := r.with(ctx, r.o.Target, func(ctx context.Context, s remote.Session) error {
		a, err := powershell.Call(ctx, s, r.o.Random, req, nil, nil)
		if err == nil {
			r.fact("look.items", fmt.Sprint(len(a.Items)))
			r.fact("look.script.ms", fmt.Sprint(a.Bye.Ms))
		}
		return err //nolint:wrapcheck // with wraps what comes of connecting
	})
	if err != nil {
		r.gap("look.ms", err.Error())
		return
	}
	r.fact("look.ms", millis(took))
}

// ask runs one op of the selftest's script and keeps its facts.
func (r *run) ask(ctx context.Context, op powershell.Op, secrets map[string]secret.Value) {
	r.o.Progress(string(op))
	r.done[op] = true
	req := r.request(op)
	values := bind(&req, secrets)
	var noise []byte
	_, err := r.with(ctx, r.o.Target, func(ctx context.Context, s remote.Session) error {
		a, err := powershell.CallMain(ctx, s, r.o.Random, powershell.Main{Script: r.script}, req, values, nil)
		r.keep(a.Facts)
		noise = a.Noise
		return err //nolint:wrapcheck // with wraps what comes of connecting
	})
	if err != nil {
		var fatal *powershell.FatalError
		r.failed[op], r.refused[op] = r.why(err), errors.As(err, &fatal) && fatal.NothingRan()
		if len(noise) > 0 && fatal == nil { // what a virus scanner or a policy says instead of the script
			r.failed[op] += ": " + string(noise[:min(len(noise), mostNoise)])
		}
	}
}

// bind gives each secret its index.
func bind(req *powershell.Request, secrets map[string]secret.Value) []secret.Value {
	var values []secret.Value
	req.Secrets = map[string]int{}
	for name, v := range secrets {
		req.Secrets[name] = len(values)
		values = append(values, v)
	}
	return values
}

func (r *run) keep(lines []powershell.Line) {
	for _, l := range lines {
		f := fact{id: l.ID, value: l.Value}
		if l.Err != nil {
			f.gap = strings.TrimSpace(l.Err.Class + " " + l.Err.HResult + " " + l.Err.Msg)
		}
		r.facts = append(r.facts, f)
	}
}

// why says why an op failed. A practice machine without an engine runs no
// script but answers for the shipped one, which knows no such op.
func (r *run) why(err error) string {
	var fatal *powershell.FatalError
	if errors.As(err, &fatal) && fatal.Class == powershell.ClassUnknownOp {
		if r.machine.DC {
			return "nothing is made on a domain controller"
		}
		r.practice = true
		return "a practice machine without a PowerShell engine runs no other script than the shipped one"
	}
	return err.Error()
}

func millis(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }
