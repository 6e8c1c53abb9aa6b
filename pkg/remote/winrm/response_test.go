package winrm

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

func TestAByteOrderMarkIsNoPartOfAnAnswer(t *testing.T) {
	t.Parallel()
	a, err := parseAnswer([]byte("\xef\xbb\xbf" + envelope(actionSent, "<rsp:SendResponse/>")))
	if err != nil || a.action != actionSent {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestExitCodesOfAllKindsOfWindows(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"0": 0, " 97\n": 97, "-1073741510": -1073741510, "3221225786": 3221225786} {
		a, err := parseAnswer([]byte(envelope(actionOutput, `<rsp:ReceiveResponse>`+doneState("C", text)+`</rsp:ReceiveResponse>`)))
		if err != nil || !a.done || a.exitCode != want {
			t.Errorf("%q is read as %+v, %v", text, a, err)
		}
	}
}

func TestInputComesOutOfARequestAsItWentIn(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		chunk := rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(t, "chunk")
		last := rapid.Bool().Draw(t, "last")
		body, err := newRequests("https://h:5986/wsman", 20e9).send("S-1", "C-1", inputParts{chunk}, last)
		if err != nil {
			t.Fatal(err)
		}
		sent, err := parseAnswer(body)
		if err != nil {
			t.Fatalf("our own request is not understood: %v", err)
		}
		if len(sent.streams) != 1 || !bytes.Equal(sent.streams[0].data, chunk) || sent.shell != "S-1" || sent.streams[0].command != "C-1" {
			t.Fatalf("%d bytes came out as %+v", len(chunk), sent)
		}
		if strings.Contains(string(body), `End="true"`) != last {
			t.Fatalf("the end is marked wrongly")
		}
	})
}

// FuzzParseAnswer asks that no bytes make the parser panic, or claim an end or
// output that is not in them.
func FuzzParseAnswer(f *testing.F) {
	for _, x := range exchanges(f) {
		f.Add([]byte(x.response))
	}
	f.Add([]byte(faultBody("w:TimedOut", codeTimedOut, "later")))
	f.Add([]byte(envelope(actionOutput, doneState("C", "0"))))
	f.Add([]byte(strings.Repeat("<a>", 100)))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAnswer(b)
		if err != nil {
			if !errors.Is(err, errAnswer) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		if a.done && !bytes.Contains(b, []byte("ExitCode")) {
			t.Error("an end without an exit code")
		}
		total := 0
		for _, st := range a.streams {
			total += len(st.data)
		}
		if total > len(b) {
			t.Errorf("%d bytes of output out of %d", total, len(b))
		}
		if a.fault != nil && len(a.fault.Error()) > 8*300*4 {
			t.Error("a fault without measure")
		}
	})
}

// FuzzChallenge asks that no challenge makes the log-in panic.
func FuzzChallenge(f *testing.F) {
	f.Add(challengeMessage([]byte("12345678")))
	f.Add([]byte("NTLMSSP\x00\x02\x00\x00\x00"))
	target := remote.Target{User: `LAB\u`, Password: secret.New([]byte("p"))}
	f.Fuzz(func(t *testing.T, b []byte) {
		if proof, err := prove(b, target); (err == nil) != (len(proof) > 0) {
			t.Errorf("a proof of %d bytes and %v", len(proof), err)
		}
	})
}

// FuzzOffers asks that no header makes the choice panic, or choose what was
// not offered.
func FuzzOffers(f *testing.F) {
	f.Add(`Negotiate, Basic realm="a, b"`)
	f.Add(`"`)
	f.Fuzz(func(t *testing.T, v string) {
		h := http.Header{"Www-Authenticate": {v}}
		if s, err := choose(h); err == nil && !strings.Contains(strings.ToLower(v), strings.ToLower(string(s))) {
			t.Errorf("%q chosen out of %q", s, v)
		}
	})
}
