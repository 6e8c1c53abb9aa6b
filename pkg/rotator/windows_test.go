package rotator_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
	"keyturn/pkg/rotator"
	"keyturn/pkg/secret"
)

// A cannedWindows answers each request with the same lines.
type cannedWindows struct {
	lines   string // JSON, one a row, without nonces
	refused error  // of Dial
	broken  error  // of Run, after the lines
	asked   []powershell.Request
	secrets []string
	dials   int
	closed  int
}

func (c *cannedWindows) Dial(context.Context, remote.Target) (remote.Session, error) {
	c.dials++
	if c.refused != nil {
		return nil, c.refused
	}
	return c, nil
}

func (c *cannedWindows) Run(_ context.Context, s remote.Script, parts ...secret.Value) (remote.Result, error) {
	in := secret.Join(parts...)
	frame, err := powershell.ReadFrame(bytes.NewReader(in.Reveal()))
	if err != nil {
		return remote.Result{}, err
	}
	c.asked = append(c.asked, frame.Request)
	for _, s := range frame.Secrets {
		c.secrets = append(c.secrets, string(s.Reveal()))
	}
	var out bytes.Buffer
	n := 0
	for row := range strings.Lines(c.lines) {
		var line powershell.Line
		if strings.TrimSpace(row) == "" {
			continue
		}
		if err := json.Unmarshal([]byte(row), &line); err != nil {
			return remote.Result{}, fmt.Errorf("%s: %w", row, err)
		}
		line.N = frame.Request.Nonce
		if line.T == "bye" {
			line.Counts = map[string]int{powershell.CountLines: n}
		}
		n++
		if err := powershell.WriteLine(&out, line); err != nil {
			return remote.Result{}, err
		}
	}
	s.OnOutput(out.Bytes())
	return remote.Result{Stdout: out.Bytes()}, c.broken
}

func (c *cannedWindows) Close() error {
	c.closed++
	return nil
}

const (
	helloWindows   = `{"t":"hello","v":1,"host":"SRV1","elevated":true}` + "\n"
	machineWindows = helloWindows + `{"t":"machine","guid":"{AB-12}","lockoutThreshold":5}` + "\n"
	machineDC      = helloWindows + `{"t":"machine","guid":"dc-0","dc":true}` + "\n"
	byeWindows     = "\n" + `{"t":"bye","code":0}`
	localUser      = `{"t":"account","sid":"S-1-5-21-9-1001","sam":"svc","name":"SRV1\\svc","class":"user","scope":"local","statusKnown":true%s}`
)

var windowsAuthority = rotator.Authority{
	Kind: pam.AuthorityWindows, Run: "run1",
	Account: pam.Account{Name: `.\svc`},
	Admin:   remote.Target{Endpoint: remote.Endpoint{Host: "srv1", Port: 5986}, User: "admin"},
}

func newWindows(d remote.Dialer) *rotator.Windows {
	return rotator.NewWindows(d, rotator.WindowsOptions{Random: rand.Reader})
}

func TestWindowsCheckIdentifies(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, lines string
		want        pam.Identity
		self        bool
	}{
		{
			name: "a local account is the machine's", lines: machineWindows + fmt.Sprintf(localUser, ""),
			want: pam.Identity{Alias: "ab-12/S-1-5-21-9-1001", SID: "S-1-5-21-9-1001", Name: `SRV1\svc`},
		},
		{
			name:  "a domain account on its controller is the domain's",
			lines: machineDC + `{"t":"account","sid":"S-1-5-21-1-1105","sam":"svc","name":"CORP\\svc","class":"user","scope":"domain","statusKnown":true}`,
			want:  pam.Identity{Alias: "S-1-5-21-1-1105", SID: "S-1-5-21-1-1105", Name: `CORP\svc`},
		},
		{
			name: "the admin itself is said to be", lines: machineWindows + fmt.Sprintf(localUser, `,"selfRotation":true`),
			want: pam.Identity{Alias: "ab-12/S-1-5-21-9-1001", SID: "S-1-5-21-9-1001", Name: `SRV1\svc`}, self: true,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := &cannedWindows{lines: row.lines + byeWindows}
			f, err := newWindows(c).Check(t.Context(), windowsAuthority)
			if err != nil || f.Identity != row.want || f.SelfRotation != row.self || f.MachineID == "" || len(f.Warnings) != 0 {
				t.Errorf("got %+v, %v", f, err)
			}
			asked := c.asked[0]
			if asked.Op != powershell.OpLook || len(asked.Kinds) != 0 || asked.Journal || asked.Target.Names[0] != `.\svc` || c.closed != 1 {
				t.Errorf("asked %+v", asked)
			}
		})
	}
}

func TestWindowsCheckRefuses(t *testing.T) {
	t.Parallel()
	user := func(more string) string { return machineWindows + fmt.Sprintf(localUser, more) }
	class := func(c string) string { return strings.Replace(user(""), `"class":"user"`, `"class":"`+c+`"`, 1) }
	for _, row := range []struct {
		name, lines string
		want        pam.Kind
		text        string
	}{
		{"a managed account", class("managed"), pam.ErrPolicy, "managed_account"},
		{"a builtin account", class("builtin"), pam.ErrPolicy, "builtin_account"},
		{"a virtual account", class("virtual"), pam.ErrPolicy, "virtual_account"},
		{"an account that is not there", class("unresolved"), pam.ErrInvalidInput, "no account"},
		{"an answer without an account", machineWindows, pam.ErrInvalidInput, "no account"},
		{"a class nobody knows", class(""), pam.ErrIO, "unknown class"},
		{"a disabled account", user(`,"disabled":true`), pam.ErrPolicy, "disabled"},
		{"an account that must change its password", user(`,"mustChange":true`), pam.ErrPolicy, "must change"},
		{"a machine that does not say which it is", strings.Replace(user(""), "{AB-12}", "", 1), pam.ErrIO, "MachineGuid"},
		{"a SID that is none", strings.Replace(user(""), "S-1-5-21-9-1001", "S-1-5-x", 1), pam.ErrIO, "cannot be"},
		{
			"a domain account on a machine that does not decide it",
			strings.Replace(user(""), `"scope":"local"`, `"scope":"domain"`, 1), pam.ErrInvalidInput, "no domain controller",
		},
		{"a log-in without rights", strings.Replace(user(""), `,"elevated":true`, "", 1), pam.ErrPolicy, "not_elevated"},
		{"a session without rights", `{"t":"fatal","class":"not_elevated"}`, pam.ErrPolicy, "not_elevated"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, err := newWindows(&cannedWindows{lines: row.lines + byeWindows}).Check(t.Context(), windowsAuthority)
			if !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.text) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWindowsSet(t *testing.T) {
	t.Parallel()
	set := func(status, class string) string {
		return helloWindows + fmt.Sprintf(`{"t":"item","phase":"set","kind":"account","id":"svc","status":%q,"err":{"class":%q}}`, status, class)
	}
	ok := helloWindows + `{"t":"item","phase":"set","kind":"account","id":"svc","status":"ok"}`
	broken := func(sent bool) error {
		return &remote.Error{Kind: pam.ErrIO, Address: "srv1:5986", Op: "read", Err: errors.New("reset"), Sent: sent}
	}
	for _, row := range []struct {
		name  string
		c     cannedWindows
		want  pam.Outcome
		err   error
		dials int
	}{
		{"an acknowledged change is applied", cannedWindows{lines: ok + byeWindows}, pam.OutcomeApplied, nil, 1},
		{"a refusal by policy", cannedWindows{lines: set("failed", "password_policy") + byeWindows}, pam.OutcomeRefused, pam.ErrPolicy, 1},
		{"a wrong old password is drift", cannedWindows{lines: set("failed", "credential_rejected") + byeWindows}, pam.OutcomeRefused, pam.ErrDrift, 1},
		{"no rights", cannedWindows{lines: set("failed", "access_denied") + byeWindows}, pam.OutcomeRefused, pam.ErrPolicy, 1},
		{"a locked account", cannedWindows{lines: set("failed", "account_locked") + byeWindows}, pam.OutcomeRefused, pam.ErrPolicy, 1},
		{"a definite refusal counts without the end marker", cannedWindows{lines: set("failed", "password_policy")}, pam.OutcomeRefused, pam.ErrPolicy, 1},
		{"a failure nobody expected may have applied it", cannedWindows{lines: set("failed", "internal") + byeWindows}, pam.OutcomeUnknown, pam.ErrUnknownOutcome, 1},
		{"a failure of no known class may have applied it", cannedWindows{lines: set("failed", "new_one") + byeWindows}, pam.OutcomeUnknown, pam.ErrUnknownOutcome, 1},
		{"an acknowledgement without the end marker is none", cannedWindows{lines: ok}, pam.OutcomeUnknown, pam.ErrIO, 1},
		{"an answer without an acknowledgement", cannedWindows{lines: helloWindows + byeWindows}, pam.OutcomeUnknown, pam.ErrUnknownOutcome, 1},
		{"a session that broke after the input", cannedWindows{broken: broken(true)}, pam.OutcomeUnknown, pam.ErrIO, 1},
		{"a session that broke before it", cannedWindows{broken: broken(false)}, pam.OutcomeRefused, pam.ErrIO, 1},
		{"a refused log-in", cannedWindows{refused: &remote.Error{Kind: pam.ErrAuthFailed, Err: errors.New("no")}}, pam.OutcomeRefused, pam.ErrAuthFailed, 1},
		{"a script that did not begin", cannedWindows{lines: `{"t":"fatal","class":"constrained_language"}`}, pam.OutcomeRefused, pam.ErrPolicy, 1},
		{"a script that broke at work", cannedWindows{lines: helloWindows + `{"t":"fatal","class":"internal"}`}, pam.OutcomeUnknown, pam.ErrInternal, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := newWindows(&row.c).Set(t.Context(), windowsAuthority, rotator.Change{
				Next: secret.New([]byte("n3w-canary")), Current: secret.New([]byte("0ld-canary")),
			})
			if got != row.want || row.err == nil && err != nil || !errors.Is(err, row.err) || row.c.dials != row.dials {
				t.Errorf("got %q, %v", got, err)
			}
			if err != nil && strings.Contains(err.Error()+pam.HintOf(err), "canary") {
				t.Errorf("a secret in %v", err)
			}
		})
	}
}

func TestWindowsSetSendsTheOldPasswordWhenItIsKnown(t *testing.T) {
	t.Parallel()
	lines := helloWindows + `{"t":"item","phase":"set","kind":"account","id":"svc","status":"ok"}` + byeWindows
	known := &cannedWindows{lines: lines}
	change := rotator.Change{Next: secret.New([]byte("n3w")), Current: secret.New([]byte("0ld"))}
	if _, err := newWindows(known).Set(t.Context(), windowsAuthority, change); err != nil {
		t.Fatal(err)
	}
	asked := known.asked[0]
	if known.secrets[asked.Secrets["new"]] != "n3w" || known.secrets[asked.Secrets["old"]] != "0ld" || asked.Policy.AllowReset {
		t.Errorf("asked %+v", asked)
	}

	unknown := &cannedWindows{lines: lines}
	change.Current = secret.Value{}
	got, err := newWindows(unknown).Set(t.Context(), windowsAuthority, change)
	if got != pam.OutcomeRefused || !errors.Is(err, pam.ErrPolicy) || !strings.Contains(pam.HintOf(err), "--allow-reset") || unknown.dials != 0 {
		t.Errorf("without the old password: %q, %v after %d dials", got, err, unknown.dials)
	}
	change.AllowReset = true
	got, err = newWindows(unknown).Set(t.Context(), windowsAuthority, change)
	if _, old := unknown.asked[0].Secrets["old"]; got != pam.OutcomeApplied || err != nil || old || !unknown.asked[0].Policy.AllowReset {
		t.Errorf("reset: %q, %v, asked %+v", got, err, unknown.asked[0])
	}
}

func TestWindowsVerify(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]pam.Verdict{
		0: pam.VerdictRight, 1385: pam.VerdictRestricted, 1327: pam.VerdictRestricted, 1328: pam.VerdictRestricted, 1329: pam.VerdictRestricted,
		1326: pam.VerdictWrong, 1330: pam.VerdictCannotTell, 1907: pam.VerdictCannotTell, 1331: pam.VerdictCannotTell,
		1793: pam.VerdictCannotTell, 1909: pam.VerdictCannotTell, 1311: pam.VerdictCannotTell, 1355: pam.VerdictCannotTell, 5: pam.VerdictCannotTell,
	} {
		// The flags lie: the code decides.
		lines := helloWindows + fmt.Sprintf(`{"t":"proof","type":3,"code":%d,"passwordOk":true,"granted":true}`, code)
		c := &cannedWindows{lines: lines + byeWindows}
		got, err := newWindows(c).Verify(t.Context(), windowsAuthority, secret.New([]byte("n3w")))
		if got != want || err != nil || len(c.asked) != 1 || c.asked[0].Op != powershell.OpVerify {
			t.Errorf("code %d: got %q, %v after %d attempts", code, got, err, len(c.asked))
		}
		cut := &cannedWindows{lines: lines}
		got, err = newWindows(cut).Verify(t.Context(), windowsAuthority, secret.New([]byte("n3w")))
		if code == 0 && !errors.Is(err, pam.ErrIO) || code != 0 && got != want {
			t.Errorf("code %d, without the end marker: got %q, %v", code, got, err)
		}
	}
	for _, lines := range []string{helloWindows, helloWindows + strings.Repeat(`{"t":"proof","type":3,"code":0}`+"\n", 2)} {
		got, err := newWindows(&cannedWindows{lines: lines + byeWindows}).Verify(t.Context(), windowsAuthority, secret.New([]byte("n3w")))
		if got != pam.VerdictNone || !errors.Is(err, pam.ErrIO) {
			t.Errorf("%q: got %q, %v", lines, got, err)
		}
	}
}

func TestWindowsHasNoEvidence(t *testing.T) {
	t.Parallel()
	c := &cannedWindows{}
	ev, err := newWindows(c).Evidence(t.Context(), windowsAuthority)
	if ev != (pam.Evidence{}) || err != nil || c.dials != 0 {
		t.Errorf("got %+v, %v", ev, err)
	}
}
