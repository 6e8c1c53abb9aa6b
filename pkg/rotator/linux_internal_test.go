package rotator

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

const testNonce = "00112233445566778899aabbccddeeff"

func TestLinuxScriptsFitIntoAnyShell(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"probe": linuxProbe, "look": linuxLook, "set": linuxSet, "test": linuxTest,
	} {
		if strings.ContainsAny(script, "'!\n") || strings.Contains(script, `\\`) {
			t.Errorf("%s holds a character that some log-in shell reads its own way", name)
		}
	}
}

func TestLinuxFrames(t *testing.T) {
	t.Parallel()
	const p = "kt1 " + testNonce + " "
	for name, row := range map[string]struct {
		out, key, value, end string
	}{
		"noise around it":                   {"motd\n" + p + "uid 0\nmore\n" + p + "end ok\n", "uid", "0", "ok"},
		"a value with blanks":               {p + "pam auth  required\n" + p + "end ok\n", "pam", "auth  required", "ok"},
		"another nonce":                     {"kt1 00 uid 0\nkt1 00 end ok\n", "uid", "", ""},
		"a cut last line":                   {p + "uid 0\n" + p + "end ok", "uid", "0", ""},
		"nothing counts after the last":     {p + "end drift\n" + p + "uid 0\n" + p + "end ok\n", "uid", "", "drift"},
		"a message cannot end it":           {p + "message end ok\n", "message", "end ok", ""},
		"our words in the middle of a line": {"x " + p + "end ok\n", "x", "", ""},
		"nothing":                           {"", "uid", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := parseLinuxFrames([]byte(row.out), testNonce)
			if f.one(row.key) != row.value || f.end != row.end {
				t.Errorf("%q: %+v", row.out, f)
			}
		})
	}
}

// A machine that lies or breaks must never make a change look made, nor one
// that may have been made look refused.
func TestLinuxOutcomes(t *testing.T) {
	t.Parallel()
	const p = "kt1 " + testNonce + " "
	one, two := strings.Repeat("1", 64), strings.Repeat("2", 64)
	lost := &remote.Error{Kind: pam.ErrIO, Sent: true, Err: pam.ErrIO}
	unsent := &remote.Error{Kind: pam.ErrIO, Err: pam.ErrIO}
	silence := &linuxSilence{}
	for name, row := range map[string]struct {
		out  string
		err  error
		want pam.Outcome
		kind pam.Kind
	}{
		"applied":                                {p + "before " + one + "\n" + p + "acting\n" + p + "after " + two + "\n" + p + "code 0\n" + p + "end ok\n", nil, pam.OutcomeApplied, ""},
		"applied, and then the connection broke": {p + "before " + one + "\n" + p + "acting\n" + p + "after " + two + "\n" + p + "code 0\n" + p + "end ok\n", lost, pam.OutcomeApplied, ""},
		"success without a new hash":             {p + "before " + one + "\n" + p + "after " + one + "\n" + p + "code 0\n" + p + "end ok\n", nil, pam.OutcomeRefused, pam.ErrPolicy},
		"success without any hash":               {p + "code 0\n" + p + "end ok\n", nil, pam.OutcomeUnknown, pam.ErrUnknownOutcome},
		"success and nothing else":               {p + "end ok\n", nil, pam.OutcomeUnknown, pam.ErrUnknownOutcome},
		"failure with a new hash":                {p + "before " + one + "\n" + p + "after " + two + "\n" + p + "code 1\n" + p + "end ok\n", nil, pam.OutcomeUnknown, pam.ErrUnknownOutcome},
		"failure":                                {p + "before " + one + "\n" + p + "after " + one + "\n" + p + "code 1\n" + p + "end ok\n", nil, pam.OutcomeRefused, pam.ErrPolicy},
		"out of time":                            {p + "before " + one + "\n" + p + "after " + one + "\n" + p + "code 124\n" + p + "end ok\n", nil, pam.OutcomeRefused, pam.ErrConflict},
		"the answer was lost":                    {p + "acting\n", lost, pam.OutcomeUnknown, pam.ErrIO},
		"lost before the change was seen":        {"", lost, pam.OutcomeUnknown, pam.ErrIO},
		"nothing was sent":                       {"", unsent, pam.OutcomeNone, pam.ErrIO},
		"it never began":                         {"sudo: no\n", silence, pam.OutcomeRefused, pam.ErrIO},
		"it ended in the middle":                 {p + "acting\n", silence, pam.OutcomeUnknown, pam.ErrUnknownOutcome},
		"an end of no meaning":                   {p + "end nonsense\n", nil, pam.OutcomeRefused, pam.ErrIO},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &linuxHost{a: Authority{Account: pam.Account{Name: "svc"}}}
			got, err := h.outcome(parseLinuxFrames([]byte(row.out), testNonce), row.err, secret.Copy([]byte("New-Pw-0002!")))
			if got != row.want || row.kind == "" && err != nil || row.kind != "" && pam.KindOf(err) != row.kind {
				t.Errorf("outcome %q, %v (%s); want %q, %q", got, err, pam.KindOf(err), row.want, row.kind)
			}
		})
	}
}

func TestLinuxMessagesNeverQuoteAPassword(t *testing.T) {
	t.Parallel()
	h := &linuxHost{a: Authority{Admin: remote.Target{Password: secret.Copy([]byte("adm1n"))}}}
	next := secret.Copy([]byte("n3w"))
	for in, want := range map[string]string{
		"no n3w here":          "its answer quoted a password and is left out",
		"no adm1n here":        "its answer quoted a password and is left out",
		" \x1b[2Jred\n\u202ex": `\x1b[2Jred; \u202ex`,
	} {
		if got := h.printable([]byte(in), next); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestLinuxLockout(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		pam, faillock []string
		want          int
	}{
		"no module":                   {nil, []string{"deny = 7"}, 0},
		"the default":                 {[]string{"auth required pam_faillock.so preauth"}, []string{"# deny = 5"}, 3},
		"the module's file":           {[]string{"auth required pam_faillock.so preauth"}, []string{"deny=5"}, 5},
		"the line goes over the file": {[]string{"auth required pam_faillock.so deny=4"}, []string{"deny = 5"}, 4},
	} {
		got := lockoutOf(linuxFrames{values: map[string][]string{"pam": row.pam, "faillock": row.faillock}})
		if got == nil || *got != row.want {
			t.Errorf("%s: %v, want %d", name, got, row.want)
		}
	}
}

func TestLinuxEscapeIsPlainASCII(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		out := linuxEscape(in)
		var back []byte
		for ; len(out) > 0; out = out[5:] {
			if out[0] != '\\' || out[1] != '0' {
				t.Fatalf("%q", out)
			}
			back = append(back, (out[2]-'0')<<6|(out[3]-'0')<<3|(out[4]-'0'))
		}
		if string(back) != string(in) {
			t.Fatalf("%q became %q", in, back)
		}
	})
}

func FuzzParseLinuxFrames(f *testing.F) {
	for _, s := range []string{
		"kt1 " + testNonce + " end ok\n", "kt1 " + testNonce + " uid 0\nkt1 " + testNonce + " end\n", "kt1 \n\n", "kt1 " + testNonce + " end ok",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, out []byte) {
		got := parseLinuxFrames(out, testNonce)
		if got.end != "" && !strings.Contains(string(out), "kt1 "+testNonce+" end "+got.end+"\n") {
			t.Errorf("an end %q out of nothing", got.end)
		}
		if got := parseLinuxFrames(out, "another"); got.end != "" && !strings.Contains(string(out), "another") {
			t.Error("an end without the nonce")
		}
	})
}
