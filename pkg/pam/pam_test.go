package pam_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	"keyturn/pkg/pam"
)

func TestAUIDIsNeverTakenForAFlag(t *testing.T) {
	t.Parallel()
	for range 20_000 {
		uid, err := pam.NewUID(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if uid[0] == '-' || uid[0] == '_' || len(uid) != 22 || !pam.IsUID(string(uid)) {
			t.Fatalf("bad UID %q", uid)
		}
	}
}

func FuzzParseUID(f *testing.F) {
	for _, s := range []string{"", "pEFr_dJn5EAc3MT_v30DQw", "-EFr_dJn5EAc3MT_v30DQw", "pEFr_dJn5EAc3MT_v30DQ\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		uid, err := pam.ParseUID(s)
		if err == nil && (string(uid) != s || len(s) != 22 || strings.ContainsAny(s, " \n/+=")) {
			t.Errorf("accepted %q", s)
		}
	})
}

func TestKindsDecideExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		err  error
		kind pam.Kind
		code int
	}{
		{"a typed failure keeps its kind when wrapped", fmt.Errorf("x: %w", pam.Errorf(pam.ErrLocked, "locked")), pam.ErrLocked, 4},
		{"a bare kind counts", fmt.Errorf("x: %w", pam.ErrConflict), pam.ErrConflict, 7},
		{"the outer kind wins", pam.Errorf(pam.ErrPartial, "p: %w", pam.Errorf(pam.ErrUnreachable, "u")), pam.ErrPartial, 6},
		{"a cancelled context is an interruption", fmt.Errorf("x: %w", context.Canceled), pam.ErrInterrupted, 130},
		{"anything else is internal", errors.New("?"), pam.ErrInternal, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if k := pam.KindOf(c.err); k != c.kind || k.Code() != c.code || !errors.Is(c.err, c.kind) && c.kind != pam.ErrInternal && c.code != 130 {
				t.Errorf("kind %s, code %d", k, k.Code())
			}
		})
	}
	if h := pam.HintOf(pam.Errorf(pam.ErrIO, "a: %w", pam.Errorf(pam.ErrIO, "b").WithHint("do %s", "this"))); h != "do this" {
		t.Errorf("hint %q", h)
	}
}

func machine(os, port, transport string) pam.Record {
	r := pam.Record{Head: pam.Head{Title: "SRV1", Type: pam.TypeMachine}}
	r.Fields = append(
		r.Fields,
		pam.Field{Type: "pamHostname", Parts: map[string]string{"hostName": "srv1", "port": port}},
		pam.Field{Type: "text", Label: "operatingSystem", Values: []string{os}},
		pam.Field{Type: "text", Label: "transport", Custom: true, Values: []string{transport}},
	)
	return r
}

func TestHowAMachineIsReached(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, os, port, transport string
		want                      pam.Transport
		at                        string
	}{
		{"Windows is WinRM over TLS", "windows", "", "", pam.WinRM, "srv1:5986"},
		{"the case of windows does not matter", "Windows", "15986", "", pam.WinRM, "srv1:15986"},
		{"Windows on port 22 is SSH", "windows", "22", "", pam.SSH, "srv1:22"},
		{"Linux is SSH", "linux", "", "", pam.SSH, "srv1:22"},
		{"Linux on another port is still SSH", "linux", "2222", "", pam.SSH, "srv1:2222"},
		{"the record may say SSH for Windows", "windows", "", "SSH", pam.SSH, "srv1:22"},
		{"no system and the WinRM port is WinRM", "", "5986", "", pam.WinRM, "srv1:5986"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m, err := pam.MachineOf(machine(c.os, c.port, c.transport))
			if err != nil || m.Transport != c.want || m.Address() != c.at {
				t.Errorf("%s %s, %v", m.Transport, m.Address(), err)
			}
		})
	}
	for _, bad := range []pam.Record{{}, machine("linux", "70000", ""), machine("linux", "x", ""), machine("linux", "", "telnet")} {
		if _, err := pam.MachineOf(bad); !errors.Is(err, pam.ErrInvalidInput) || pam.HintOf(err) == "" {
			t.Errorf("want invalid input with a hint, got %v", err)
		}
	}
}

func TestMappingWords(t *testing.T) {
	t.Parallel()
	if got := pam.MapAll.Label(); got != "Services, Scheduled Tasks, IIS Pools" {
		t.Errorf("label %q", got)
	}
	for _, w := range pam.MapAll.Types() {
		if k, err := pam.ParseMappingKind(strings.ToUpper(w)); err != nil || k.Types()[0] != w {
			t.Errorf("%s: %v %v", w, k, err)
		}
	}
	if _, err := pam.ParseMappingKind("bogus"); pam.KindOf(err).Code() != 2 {
		t.Errorf("got %v", err)
	}
}

func TestEvidenceProvesOnlyWhatItCan(t *testing.T) {
	t.Parallel()
	a, b, none := pam.Evidence{Mark: "a", Exact: true}, pam.Evidence{Mark: "b", Exact: true}, pam.Evidence{}
	if !a.Same(a) || a.Same(b) || none.Same(none) || !a.Moved(b) || none.Moved(a) || a.Moved(none) {
		t.Error("evidence compares wrongly")
	}
}

func TestSplitName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][2]string{
		`LAB\svc_app`: {"LAB", "svc_app"}, "svc_app@lab.example": {"lab.example", "svc_app"}, "svc_app": {"", "svc_app"}, `.\x`: {".", "x"},
	} {
		if d, n := pam.SplitName(in); d != want[0] || n != want[1] {
			t.Errorf("%s: %q %q", in, d, n)
		}
	}
}
