package directory_test

import (
	"crypto/rand"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"keyturn/pkg/directory"
	"keyturn/pkg/lab/ldapd"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/winrmd"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

const (
	labAdmin   = "Adm1n-Pass!23"
	labService = "S3rvice-Pass!23"
)

func word(s string) secret.Value { return secret.New([]byte(s)) }

// A practice is a practice domain and its controller.
type practice struct {
	t      *testing.T
	domain *model.Domain
	server *ldapd.Server
	helper string // SID of one who may reset nothing
}

func newPractice(t *testing.T) *practice {
	t.Helper()
	p := &practice{t: t, domain: model.NewDomain("LAB", "lab.example", model.Policy{MinLength: 8, LockoutThreshold: 5})}
	p.domain.Add(model.User{Sam: "Administrator", RID: 500, Password: word(labAdmin)})
	p.domain.Add(model.User{Sam: "krbtgt", RID: 502, Password: word("k3y-of-all-tickets"), Disabled: true})
	p.domain.Add(model.User{Sam: "svc_app", RID: 1104, Password: word(labService)})
	p.domain.Add(model.User{Sam: "gapp$", RID: 1106, Password: word("m4naged-pass"), Managed: true})
	p.helper = p.domain.Add(model.User{Sam: "helper", RID: 1107, Password: word("H3lper-Pass!")})
	cert, err := winrmd.SelfSigned("dc01.lab.example", time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p.server, err = ldapd.Start(t.Context(), ldapd.Options{
		Domain: p.domain, Certificate: cert, Now: time.Now, MayReset: func(sid string) bool { return sid != p.helper },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.server.Close() })
	return p
}

// target is the controller, logged in to as its Administrator.
func (p *practice) target() remote.Target {
	return at(p.t, pam.LDAPS, p.server.Address(), func(t *remote.Target) {
		t.Pin, t.User, t.Password = p.server.Pin(), `LAB\Administrator`, word(labAdmin)
	})
}

func at(t *testing.T, transport pam.Transport, address string, change func(*remote.Target)) remote.Target {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	out := remote.Target{Endpoint: remote.Endpoint{Transport: transport, Host: host, Port: n}}
	change(&out)
	return out
}

func open(t *testing.T, target remote.Target) *directory.Conn {
	t.Helper()
	c, err := directory.Open(t.Context(), target, directory.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func find(t *testing.T, c *directory.Conn, name string) directory.Account {
	t.Helper()
	a, err := c.Find(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// wants fails unless err has the kind, and says all of it.
func wants(t *testing.T, err error, kind pam.Kind, texts ...string) {
	t.Helper()
	if err == nil || pam.KindOf(err) != kind {
		t.Fatalf("got %v (%s), want %s", err, pam.KindOf(err), kind)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%v does not say %q", err, text)
		}
	}
}

func TestAnotherControllerNamesThePDCEmulatorWhichIsAskedInstead(t *testing.T) {
	t.Parallel()
	p := newPractice(t)
	ca := p.server.PEM()
	p.server.SetFaults(ldapd.Faults{PDC: "localhost"})
	target := p.target()
	target.Pin, target.CAPEM = "", ca
	logIns := 0
	c, err := directory.Open(t.Context(), target, directory.Options{Now: time.Now, LoggedIn: func() { logIns++ }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if logIns != 2 || p.server.Binds() != 2 {
		t.Errorf("%d log-ins noted, %d made", logIns, p.server.Binds())
	}
	if who := find(t, c, "svc_app"); who.Name != `LAB\svc_app` {
		t.Errorf("found %+v", who)
	}
}

func TestAPDCEmulatorOfAnotherDomainIsSentNoPassword(t *testing.T) {
	t.Parallel()
	p := newPractice(t)
	evil := model.NewDomain("EVIL", "evil.test", model.Policy{})
	evil.Add(model.User{Sam: "Administrator", RID: 500, Password: word(labAdmin)})
	p.server.SetFaults(ldapd.Faults{PDC: "localhost", PDCDomain: evil})
	for _, user := range []string{"Administrator", `LAB\Administrator`} {
		target := p.target()
		target.Pin, target.CAPEM, target.User = "", p.server.PEM(), user
		before := p.server.Binds()
		_, err := directory.Open(t.Context(), target, directory.Options{Now: time.Now})
		wants(t, err, pam.ErrUntrusted, "a controller of evil.test, not of lab.example", "nothing was sent to it")
		if n := p.server.Binds() - before; n != 1 {
			t.Errorf("%s: %d log-ins", user, n)
		}
	}
}

// A08: no other controller stands in for one that is down.
func TestA08WithoutItsPDCEmulatorADomainChangesNothing(t *testing.T) {
	t.Parallel()
	p := newPractice(t)
	p.server.SetFaults(ldapd.Faults{PDC: "dc02.invalid"})
	target := p.target()
	_, err := directory.Open(t.Context(), target, directory.Options{Now: time.Now})
	wants(t, err, pam.ErrInvalidInput, "is not the PDC emulator of lab.example", `"dc02.invalid"`)
	target.Pin, target.CAPEM = "", p.server.PEM()
	_, err = directory.Open(t.Context(), target, directory.Options{Now: time.Now})
	wants(t, err, pam.ErrUnreachable, "the PDC emulator of lab.example, in whose place no other controller is asked", "dc02.invalid")
	p.server.SetDown(true)
	_, err = directory.Open(t.Context(), target, directory.Options{Now: time.Now})
	wants(t, err, pam.ErrUnreachable)
}

// A03: what offers no TLS gets no password.
func TestA03AControllerWithoutTLSIsSentNothing(t *testing.T) {
	t.Parallel()
	p := newPractice(t)
	p.server.SetFaults(ldapd.Faults{NoTLS: true})
	target := at(t, pam.StartTLS, p.server.PlainAddress(), func(t *remote.Target) {
		t.Pin, t.User, t.Password = p.server.Pin(), "Administrator", word(labAdmin)
	})
	_, err := directory.Open(t.Context(), target, directory.Options{Now: time.Now})
	wants(t, err, pam.ErrUntrusted, "passwords are not sent without")
	if p.server.Binds() != 0 {
		t.Error("somebody logged in")
	}
	target.Transport = pam.LDAPS // TLS spoken to a port that begins in the clear
	_, err = directory.Open(t.Context(), target, directory.Options{Now: time.Now})
	wants(t, err, pam.ErrUnreachable, "negotiate TLS")
}

func TestALostAnswerIsSettledByTheMark(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		fault ldapd.Faults
		moved bool
	}{
		"cut before the controller did it": {ldapd.Faults{CutBefore: true}, false},
		"cut after the controller did it":  {ldapd.Faults{CutAfter: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPractice(t)
			c := open(t, p.target())
			before := find(t, c, "svc_app")
			p.server.SetFaults(row.fault)
			outcome, err := c.Reset(t.Context(), before, word("N3w-Pass!word"))
			sent, ok := errors.AsType[*remote.Error](err)
			if outcome != pam.OutcomeUnknown || !ok || !sent.Sent {
				t.Fatalf("outcome %s, %v", outcome, err)
			}
			after := find(t, open(t, p.target()), "svc_app")
			if (before.Mark != after.Mark) != row.moved || p.domain.Matches("svc_app", word("N3w-Pass!word")) != row.moved {
				t.Errorf("mark %s, then %s", before.Mark, after.Mark)
			}
		})
	}
}

func TestEndlessAnswersEnd(t *testing.T) {
	t.Parallel()
	p := newPractice(t)
	p.server.SetFaults(ldapd.Faults{Endless: true})
	_, err := directory.Open(t.Context(), p.target(), directory.Options{Now: time.Now})
	wants(t, err, pam.ErrIO)
}

func TestAThresholdThatMayNotBeReadIsNotKnown(t *testing.T) {
	t.Parallel()
	p := newPractice(t)
	if a := find(t, open(t, p.target()), "svc_app"); a.Threshold == nil || *a.Threshold != 5 {
		t.Errorf("threshold %v", a.Threshold)
	}
	p.server.SetFaults(ldapd.Faults{NoThreshold: true})
	if a := find(t, open(t, p.target()), "svc_app"); a.Threshold != nil {
		t.Errorf("threshold %d", *a.Threshold)
	}
}
