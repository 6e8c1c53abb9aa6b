package selftest

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unicode/utf16"

	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// create makes the throw-away objects, asks them, and removes them.
func (r *run) create(ctx context.Context) {
	defer r.cleanUp(ctx)
	w := r.words
	r.ask(ctx, opSetup, map[string]secret.Value{"new": w[0]})
	if f, ok := r.find("setup.account"); !ok || f.value != "0" {
		return
	}
	r.ask(ctx, opLogons, map[string]secret.Value{"new": w[0], "wrong": r.wrong})
	r.ask(ctx, opServices, map[string]secret.Value{"old": w[0], "new": w[1], "wrong": r.wrong})
	r.ask(ctx, opTasks, map[string]secret.Value{"old": w[1], "new": w[2], "wrong": r.wrong})
	r.ask(ctx, opPools, map[string]secret.Value{"old": w[2], "new": w[3], "wrong": r.wrong})
	r.cut(ctx)
	r.ask(ctx, opLockout, map[string]secret.Value{"new": w[3], "wrong": r.wrong})
}

// cleanUp removes everything even when ctx has ended.
func (r *run) cleanUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	r.ask(ctx, opCleanup, nil)
}

// errCut ends our side of the connection while the script works.
var errCut = errors.New("cut by the selftest")

// cut breaks the connection while a script that must survive works, and looks
// for the mark that it leaves.
func (r *run) cut(ctx context.Context) {
	r.o.Progress("cut the connection, and look whether the script goes on")
	r.done[opCut] = true
	if why := r.leave(ctx); why != "" {
		r.failed[opCut] = why
		return
	}
	for range 4 {
		if !r.pause(ctx) {
			break
		}
		r.ask(ctx, opMark, nil)
		if f, ok := r.find("cut.survived"); ok && f.value == "1" {
			return
		}
	}
}

// leave starts the script and leaves it when it says that it has begun. It
// returns why that failed, or "".
func (r *run) leave(ctx context.Context) string {
	req := r.request(opCut)
	req.Plan = &powershell.Plan{SettleMs: r.o.CutWait.Milliseconds()}
	began := false
	_, err := r.with(ctx, r.o.Target, func(ctx context.Context, s remote.Session) error {
		ctx, cut := context.WithCancelCause(ctx)
		defer cut(nil)
		main := powershell.Main{Script: r.script, KeepRunning: true}
		_, err := powershell.CallMain(ctx, s, r.o.Random, main, req, nil, func(l powershell.Line) {
			if l.T == "fact" && l.ID == "cut.began" {
				began = true
				cut(errCut)
			}
		})
		return err //nolint:wrapcheck // with wraps what comes of connecting
	})
	switch {
	case began:
		return ""
	case err != nil:
		return r.why(err)
	default:
		return "the script never said that it had begun"
	}
}

// pause waits as long as the script sleeps; false says that ctx ended.
func (r *run) pause(ctx context.Context) bool {
	timer := time.NewTimer(r.o.CutWait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// needles are the secrets that no log may hold: as they are, in base64, and in
// base64 of UTF-16 as in an encoded command. They travel as secrets themselves.
func (r *run) needles() map[string]secret.Value {
	used := []secret.Value{r.canary}
	if r.done[opSetup] {
		used = append(append(used, r.words...), r.wrong)
	}
	all := map[string]secret.Value{}
	add := func(b []byte) { all[fmt.Sprintf("s%d", len(all))] = secret.New(b) }
	for _, s := range used {
		add(append([]byte{}, s.Reveal()...))
		add([]byte(base64.StdEncoding.EncodeToString(s.Reveal())))
		var wide []byte
		for _, u := range utf16.Encode([]rune(string(s.Reveal()))) {
			wide = binary.LittleEndian.AppendUint16(wide, u)
		}
		add([]byte(base64.StdEncoding.EncodeToString(wide)))
	}
	return all
}
