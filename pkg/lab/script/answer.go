// Package script is the Go twin of the script that pkg/powershell ships: it
// answers the same frames with the same lines, over pkg/lab/model instead of
// Windows. Where no PowerShell engine is at hand it stands in for one, and where
// there is one, tests hold the two against each other.
//
// It must know nothing of what the lines mean for a rotation.
package script

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/powershell"
	"keyturn/pkg/secret"
)

// ExitKilled is what [Answer] returns for a script that was killed: a process
// that ends so leaves no code.
const ExitKilled = -1

// errDead ends a run at once: the script's process or its machine is gone.
var errDead = errors.New("the script was killed")

// Answer reads one frame from in, carries out its request on m and writes the
// answer's lines to out. It returns the exit code of the contract. journalDir
// is the machine's folder of journals; "" keeps none.
//
// Ending ctx is killing the script's process: not one more call, not one more
// line. A broken out is not: as on Windows, the script goes on unheard.
func Answer(ctx context.Context, m *model.Machine, journalDir string, in io.Reader, out io.Writer) int {
	info, err := ask(ctx, m.Info)
	if err != nil {
		return ExitKilled
	}
	if info.Constrained {
		_ = powershell.WriteLine(out, powershell.Line{T: "fatal", Class: powershell.ClassConstrained})
		return powershell.ByePreflight
	}
	frame, err := powershell.ReadFrame(in)
	if err != nil {
		return refuseFrame(out, err)
	}
	r := &run{
		m: m, req: frame.Request, secrets: frame.Secrets, info: info, out: out, dir: journalDir,
		began: m.Clock().Now(), counts: map[string]int{}, names: map[string]resolved{}, noLogon: map[string]bool{},
		known: map[int]bool{},
	}
	defer r.close()
	code, err := r.answer(ctx)
	if err != nil {
		return ExitKilled
	}
	return code
}

func refuseFrame(out io.Writer, err error) int {
	line := powershell.Line{T: "fatal", Class: powershell.ClassTransportCorrupt}
	if f, ok := errors.AsType[*powershell.FrameError](err); ok {
		line.Class, line.Got, line.Want = f.Class, f.Got, f.Want
	}
	_ = powershell.WriteLine(out, line)
	return powershell.ByeTransport
}

// ask is one call of the model by a script that is alive. Its error is errDead
// or the call's own.
func ask[T any](ctx context.Context, call func() (T, error)) (T, error) {
	var none T
	if ctx.Err() != nil {
		return none, errDead
	}
	v, err := call()
	if errors.Is(err, model.ErrCut) {
		return none, errDead
	}
	return v, err
}

// do is ask for calls that only succeed or fail.
func do(ctx context.Context, call func() error) error {
	_, err := ask(ctx, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

func dead(err error) bool { return errors.Is(err, errDead) }

var noncePattern = regexp.MustCompile(`\A[0-9a-f]{1,64}\z`)

// answer runs the request and returns the code of its bye. The error is errDead.
func (r *run) answer(ctx context.Context) (int, error) {
	if !noncePattern.MatchString(r.req.Nonce) {
		r.req.Nonce = ""
		return powershell.ByeInternal, r.bye(ctx, powershell.ByeInternal)
	}
	code, err := r.carryOut(ctx)
	if dead(err) {
		return 0, err
	}
	if err != nil { // what the script catches around everything
		if err := r.fatal(ctx, powershell.ClassInternal, errorOf(err, powershell.ClassInternal)); err != nil {
			return 0, err
		}
		code = powershell.ByeInternal
	}
	return code, r.bye(ctx, code)
}

func (r *run) carryOut(ctx context.Context) (int, error) {
	if err := r.hello(ctx); err != nil {
		return 0, err
	}
	if r.req.Target != nil {
		if err := r.resolveTarget(ctx); err != nil {
			return 0, err
		}
	}
	bar, err := r.bar(ctx)
	if err != nil {
		return 0, err
	}
	if err := r.introduce(ctx); err != nil {
		return 0, err
	}
	if bar != "" {
		return powershell.ByePreflight, r.fatal(ctx, bar, nil)
	}
	if r.req.Journal && slices.Contains([]powershell.Op{powershell.OpUpdate, powershell.OpRestart, powershell.OpRepair}, r.req.Op) {
		if r.req.Op == powershell.OpRepair {
			r.readJournal()
		}
		r.openJournal()
	}
	if err := r.op(ctx); err != nil {
		return 0, err
	}
	return r.code(), nil
}

func (r *run) op(ctx context.Context) error {
	switch r.req.Op {
	case powershell.OpLook:
		return r.look(ctx)
	case powershell.OpUpdate:
		return r.update(ctx)
	case powershell.OpRestart:
		return r.restart(ctx)
	case powershell.OpRepair:
		return r.repair(ctx)
	case powershell.OpVerify:
		_, err := r.logOn(ctx, model.LogonNetwork)
		return err
	case powershell.OpPassword:
		return r.setPassword(ctx)
	case powershell.OpUnlock:
		return r.unlockAccount(ctx)
	default:
		return nil // ping
	}
}

// bar is the class that keeps the request from running here, or "".
func (r *run) bar(ctx context.Context) (string, error) {
	switch r.req.Op {
	case powershell.OpPing, powershell.OpLook:
		return "", nil
	case powershell.OpVerify:
		return r.needTarget(), nil
	case powershell.OpUpdate, powershell.OpPassword, powershell.OpUnlock, powershell.OpRestart, powershell.OpRepair:
	default:
		return powershell.ClassUnknownOp, nil
	}
	if bar := r.accountBar(); bar != "" {
		return bar, nil
	}
	lock := "restart"
	if slices.Contains([]powershell.Op{powershell.OpUpdate, powershell.OpPassword, powershell.OpUnlock}, r.req.Op) {
		lock = r.who.sam
		if len(r.who.sids) > 0 {
			lock = r.who.sids[0]
		}
		if bar := r.needTarget(); bar != "" {
			return bar, nil
		}
	}
	taken, err := ask(ctx, func() (bool, error) {
		release, ok, err := r.m.Lock("Keyturn-" + lock)
		r.unlock = release
		return ok, err
	})
	if err != nil {
		return "", err
	}
	if !taken {
		return powershell.ClassLockedByOtherRun, nil
	}
	return "", nil
}

// accountBar is why we, or the target, are not the account for this.
func (r *run) accountBar() string {
	switch {
	case !r.info.Elevated:
		return powershell.ClassNotElevated
	case r.req.Op == powershell.OpUpdate && r.who.scope == "entra":
		return powershell.ClassInvalidAccount
	}
	return ""
}

func (r *run) needTarget() string {
	if r.req.Target == nil {
		return powershell.ClassInternal
	}
	return ""
}

// secret returns the secret of that name; a request without it is a mistake of
// its maker.
func (r *run) secret(name string) (secret.Value, error) {
	i, ok := r.req.Secrets[name]
	if !ok || i < 0 || i >= len(r.secrets) {
		return secret.Value{}, fmt.Errorf("the request has no secret %q", name)
	}
	return r.secrets[i], nil
}
