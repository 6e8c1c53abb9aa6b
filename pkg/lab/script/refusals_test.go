package script_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/powershell"
	"keyturn/pkg/secret"
)

// frame encodes a request with the new password as its first secret.
func frame(tb testing.TB, req powershell.Request) []byte {
	tb.Helper()
	req.V, req.Nonce = 1, "00ff"
	if req.DeadlineMs == 0 {
		req.DeadlineMs = 600_000
	}
	f, err := powershell.EncodeFrame(req, []secret.Value{pw(newPassword), pw(oldPassword)})
	if err != nil {
		tb.Fatal(err)
	}
	return f.Reveal()
}

// raw runs bytes as a frame.
func (w *world) raw(in []byte) (string, int) {
	out, code, err := w.send(powershell.CommandLine(), secret.Copy(in))
	if err != nil && !errors.Is(err, errUncertain) {
		w.t.Error(err)
	}
	return string(out), code
}

// answer runs one request on the world's machine and collects the answer.
func (w *world) answer(req powershell.Request) (powershell.Answer, int, error) {
	w.t.Helper()
	out, code := w.raw(frame(w.t, req))
	c := powershell.NewCollector("00ff", nil, nil)
	_, _ = c.Write([]byte(out))
	a, err := c.Finish()
	return a, code, err
}

func (w *world) target() *powershell.Account {
	a := powershell.SubjectAccount(w.login, w.subject().Identity)
	return &a
}

func TestT02FramesThatAreNotWholeRunNothing(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		whole := frame(w.t, powershell.Request{Op: powershell.OpPing})
		flipped := bytes.Clone(whole)
		flipped[len(flipped)-1] ^= 1
		lower := append([]byte("wsx1"), whole[4:]...)
		for _, r := range []struct {
			name string
			in   []byte
			want string
		}{
			{"T02 a truncated frame", whole[:len(whole)-7], powershell.ClassTransportTruncated},
			{"T02 half a header", whole[:40], powershell.ClassTransportTruncated},
			{"T02 a damaged frame", flipped, powershell.ClassTransportCorrupt},
			{"another header", lower, powershell.ClassTransportHeader},
			{"no frame at all", bytes.Repeat([]byte("x"), 100), powershell.ClassTransportHeader},
		} {
			out, code := w.raw(r.in)
			if code != powershell.ByeTransport || !strings.Contains(out, r.want) || strings.Count(strings.TrimSpace(out), "\n") != 0 {
				w.t.Errorf("%s: exit %d: %s", r.name, code, out)
			}
		}
		if len(w.m.Events()) != 0 {
			w.t.Errorf("something ran: %v", w.m.Events())
		}
	})
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	some := &powershell.Account{}
	for _, r := range []struct {
		name string
		spec func(s *model.MachineSpec)
		req  powershell.Request
		want string
	}{
		{"T11 constrained language", func(s *model.MachineSpec) { s.Constrained = true }, powershell.Request{Op: powershell.OpRestart}, powershell.ClassConstrained},
		{"T12 a filtered token", func(s *model.MachineSpec) { s.Filtered = true }, powershell.Request{Op: powershell.OpUpdate, Target: some}, powershell.ClassNotElevated},
		{"an unknown op", nil, powershell.Request{Op: "format"}, powershell.ClassUnknownOp},
		{"a logon as nobody", nil, powershell.Request{Op: powershell.OpVerify}, powershell.ClassInternal},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			both(t, r.spec, func(w *world) {
				req := r.req
				if req.Target != nil {
					req.Target = w.target()
				}
				_, code, err := w.answer(req)
				f, ok := errors.AsType[*powershell.FatalError](err)
				if !ok || f.Class != r.want || code != powershell.ByePreflight || len(w.m.Events()) != 0 {
					w.t.Errorf("%v, exit %d, %v", err, code, w.m.Events())
				}
			})
		})
	}
}

func TestPingTellsWhoAndWhere(t *testing.T) {
	t.Parallel()
	both(t, func(s *model.MachineSpec) { s.Filtered = true }, func(w *world) {
		a, code, err := w.answer(powershell.Request{Op: powershell.OpPing, Run: string(run)})
		if err != nil || code != powershell.ByeOK {
			w.t.Fatal(code, err)
		}
		info, _ := w.m.Info()
		got := fmt.Sprint(a.Hello.Host, a.Hello.OS, a.Hello.Elevated, a.Hello.IIS, a.Machine.User, a.Machine.UserSID, a.Machine.Domain, a.Machine.GUID)
		if want := fmt.Sprint("SRV1", info.OS, false, true, `CORP\admin`, info.UserSID, "CORP", info.GUID); got != want || a.Account != nil {
			w.t.Errorf("got %s, want %s, %v", got, want, a.Account)
		}
	})
}

func TestF05TheSecondOfTwoRunsIsRefused(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		release, ok, err := w.m.Lock("Keyturn-" + w.sid)
		if !ok || err != nil {
			w.t.Fatal(ok, err)
		}
		req := powershell.Request{Op: powershell.OpUpdate, Target: w.target(), Secrets: map[string]int{powershell.SecretNew: 0}}
		_, _, err = w.answer(req)
		if f, ok := errors.AsType[*powershell.FatalError](err); !ok || f.Class != powershell.ClassLockedByOtherRun {
			w.t.Fatal(err)
		}
		release()
		if _, _, err = w.answer(req); err != nil {
			w.t.Fatal(err)
		}
	})
}

func TestVerifyAndSetPassword(t *testing.T) {
	t.Parallel()
	oldAndNew := map[string]int{powershell.SecretNew: 0, powershell.SecretOld: 1}
	onlyNew := map[string]int{powershell.SecretNew: 0}
	dc := func(s *model.MachineSpec) { s.Name, s.DC = "DC1", true }
	for _, r := range []struct {
		name    string
		spec    func(s *model.MachineSpec)
		secrets map[string]int
		policy  powershell.Policy
		bend    func(w *world)
		want    string // of the set item
		changed bool
	}{
		{"A09 a change with the old one", dc, oldAndNew, powershell.Policy{}, nil, "ok", true},
		{"A10 a reset needs leave", dc, onlyNew, powershell.Policy{}, nil, "failed " + powershell.ClassResetNotAllowed, false},
		{"A10 a reset with leave", dc, onlyNew, powershell.Policy{AllowReset: true}, nil, "ok", true},
		{"a member does not decide about the domain's accounts", nil, oldAndNew, powershell.Policy{}, nil, "failed " + powershell.ClassInvalidAccount, false},
		{"A06 a locked account", dc, oldAndNew, powershell.Policy{}, func(w *world) {
			w.domain.Configure("svc_app", func(u *model.User) { u.Locked = true })
		}, "failed " + powershell.ClassAccountLocked, false},
		{"a policy that refuses", dc, oldAndNew, powershell.Policy{}, func(w *world) {
			w.domain.SetPolicy(model.Policy{MinLength: 100})
		}, "failed " + powershell.ClassPasswordPolicy, false},
		{"A09 the old one is wrong", dc, oldAndNew, powershell.Policy{}, func(w *world) {
			_ = w.domain.Reset("svc_app", pw("something-else-1"))
		}, "failed " + powershell.ClassRejected, false},
		{"I12 a managed account", dc, oldAndNew, powershell.Policy{}, func(w *world) {
			u, _ := w.domain.User("gapp$")
			w.login, w.sid = `CORP\gapp$`, u.SID
		}, "failed " + powershell.ClassManaged, false},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			both(t, r.spec, func(w *world) {
				if r.bend != nil {
					r.bend(w)
				}
				a, _, err := w.answer(powershell.Request{Op: powershell.OpPassword, Target: w.target(), Secrets: r.secrets, Policy: r.policy})
				if err != nil || len(a.Items) != 1 {
					w.t.Fatal(a.Items, err)
				}
				got := a.Items[0].Status
				if e := a.Items[0].Err; e != nil {
					got += " " + e.Class
				}
				if got != r.want || w.domain.Matches("svc_app", pw(newPassword)) != r.changed {
					w.t.Errorf("%s, want %s", got, r.want)
				}
				a, _, err = w.answer(powershell.Request{Op: powershell.OpVerify, Target: w.target(), Secrets: onlyNew})
				if err != nil || len(a.Proofs) != 1 || a.Proofs[0].PasswordOK != r.changed || a.Proofs[0].Type != model.LogonNetwork {
					w.t.Errorf("verify: %+v %v", a.Proofs, err)
				}
			})
		})
	}
}
