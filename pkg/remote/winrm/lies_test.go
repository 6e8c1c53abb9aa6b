package winrm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// threeChunks is an input that takes three requests, of which each counts.
func threeChunks() []byte { return bytes.Repeat([]byte("sekrit-frame-bytes.."), 12_500) }

// A lie is an answer in place of the truth.
type lie func(w http.ResponseWriter, r *http.Request)

func status(code int) lie {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func raw(body string) lie {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

// output answers a Receive with body inside its element.
func output(body string) lie {
	return raw(envelope(actionOutput, `<rsp:ReceiveResponse>`+body+`</rsp:ReceiveResponse>`))
}

func fault500(w http.ResponseWriter, _ *http.Request) {
	sayFault(w, "w:InternalError", "2147942402", "The system cannot find \u009b31m the file.")
}

func hangUp(w http.ResponseWriter, _ *http.Request) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = c.Close()
	}
}

// halfAnswer promises more than it sends.
func halfAnswer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "100000")
	_, _ = io.WriteString(w, "<s:Envelope")
	_ = http.NewResponseController(w).Flush()
	hangUp(w, nil)
}

func endless(w http.ResponseWriter, r *http.Request) {
	junk := bytes.Repeat([]byte("<a>"), 10_000)
	for r.Context().Err() == nil {
		if _, err := w.Write(junk); err != nil {
			return
		}
	}
}

// rawAnswer writes bytes past the HTTP library: first, then rest for ever.
func rawAnswer(first, rest string) lie {
	return func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		_, err = io.WriteString(c, first)
		for err == nil && rest != "" {
			_, err = io.WriteString(c, rest)
		}
	}
}

func trickle(w http.ResponseWriter, r *http.Request) {
	for {
		_, _ = io.WriteString(w, " ")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func silence(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// impatient are options for servers that never answer.
func impatient() Options {
	o := quick()
	o.Operation, o.Grace = 200*time.Millisecond, 1300*time.Millisecond
	return o
}

// tell makes a server lie at the nth request of a phase and ever after.
func tell(phase string, n int, l lie) func(*fake) {
	return func(f *fake) {
		f.lie = func(p string, i int, w http.ResponseWriter, r *http.Request) bool {
			if p != phase || i < n {
				return false
			}
			l(w, r)
			return true
		}
	}
}

// deceived runs the digest of three chunks on a lying server and returns what
// came of it, after the checks that hold for every lie.
func deceived(t *testing.T, f *fake, o Options) (remote.Result, error) {
	t.Helper()
	var log lockedBuffer
	o.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	target := f.target()
	res, err := dialAndRun(ctx, NewDialer(o), target, remote.Script{Line: "digest"})
	if ctx.Err() != nil {
		t.Error("the lie kept us until the caller's deadline")
	}
	if n := len(f.requests("")); n >= 20 {
		t.Errorf("the lie cost %d requests", n)
	}
	sum := sha256.Sum256(threeChunks())
	if err == nil && string(res.Stdout) != hex.EncodeToString(sum[:])+"\n" {
		t.Errorf("false success: %q, exit code %d", res.Stdout, res.ExitCode)
	}
	for _, text := range []string{log.String(), fmt.Sprintf("%v %+v", err, err)} {
		for _, bad := range []string{fakePassword, base64.StdEncoding.EncodeToString([]byte(fakePassword)), "sekrit", "\u009b"} {
			if strings.Contains(text, bad) {
				t.Errorf("%q shows %q", text, bad)
			}
		}
	}
	return res, err
}

func dialAndRun(ctx context.Context, d *Dialer, target remote.Target, script remote.Script) (remote.Result, error) {
	s, err := d.Dial(ctx, target)
	if err != nil {
		return remote.Result{}, err
	}
	defer func() { _ = s.Close() }()
	return s.Run(ctx, script, secret.New(threeChunks()))
}

// hurry is dialAndRun with time to log in on a busy machine, and none after.
func hurry(ctx context.Context, target remote.Target, phase string) (remote.Result, error) {
	o := quick()
	if phase == "create" {
		o = impatient()
	}
	s, err := NewDialer(o).Dial(ctx, target)
	if err != nil {
		return remote.Result{}, err
	}
	defer func() { _ = s.Close() }()
	s.(*session).client.o = NewDialer(impatient()).o
	return s.Run(ctx, remote.Script{Line: "digest"}, secret.New(threeChunks()))
}

// lockedBuffer is a buffer for a logger.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// An outcome is what an error must say.
type outcome struct {
	kind pam.Kind
	sent bool
}

func wantError(t *testing.T, err error, want outcome) {
	t.Helper()
	var e *remote.Error
	if !errors.As(err, &e) {
		t.Fatalf("the error is %T %v, want *remote.Error", err, err)
	}
	if got := (outcome{e.Kind, e.Sent}); got != want || e.Address == "" || e.Op == "" {
		t.Errorf("the error is %+v (%v), want %+v", e, err, want)
	}
	if pam.KindOf(err) != want.kind {
		t.Errorf("its kind reads as %q", pam.KindOf(err))
	}
}

func TestARefusalInAnyPhaseIsAnError(t *testing.T) {
	t.Parallel()
	where := []struct {
		phase string
		n     int
		sent  bool
	}{
		{"create", 1, false},
		{"command", 1, false},
		{"send", 1, false},
		{"send", 2, false},
		{"send", 3, true},
		{"receive", 1, true},
	}
	lies := map[string]lie{
		"status 500 with a fault":     fault500,
		"status 200 with a fault":     raw(faultBody("w:InternalError", "1", "no")),
		"status 500 without a word":   status(http.StatusInternalServerError),
		"status 404":                  status(http.StatusNotFound),
		"status 413":                  status(http.StatusRequestEntityTooLarge),
		"an empty answer":             raw(""),
		"an answer to something else": raw(envelope("http://example.org/Other", "")),
		"no XML":                      raw("<html><body>proxy"),
		"nested XML":                  raw(strings.Repeat("<a>", 50_000)),
		"nested XML in an envelope":   raw(envelope("x", strings.Repeat("<a>", 5000)+strings.Repeat("</a>", 5000))),
		"a million attributes":        raw(`<s:Envelope xmlns:s="` + nsSOAP + `" ` + strings.Repeat(`a="" `, 300_000) + `/>`),
		"a document type":             raw(`<!DOCTYPE a [<!ENTITY b "c">]>` + envelope("x", "")),
		"an endless body":             endless,
		"an endless header":           rawAnswer("HTTP/1.1 200 OK\r\n", "X-Long: "+strings.Repeat("y", 1000)+"\r\n"),
		"endless interim answers":     rawAnswer("", "HTTP/1.1 100 Continue\r\n\r\n"),
		"no HTTP":                     rawAnswer("SSH-2.0-OpenSSH\r\n\r\n", ""),
	}
	for name, l := range lies {
		for _, w := range where {
			t.Run(fmt.Sprintf("%s at %s %d", name, w.phase, w.n), func(t *testing.T) {
				t.Parallel()
				f := startFake(t, tell(w.phase, w.n, l))
				_, err := deceived(t, f, quick())
				wantError(t, err, outcome{pam.ErrIO, w.sent})
				if w.phase == "send" && len(f.requests("send")) != w.n {
					t.Errorf("%d chunks were sent, the %dth was refused", len(f.requests("send")), w.n)
				}
			})
		}
	}
}

func TestAMachineThatForgetsOurLogInIsNotTriedForEver(t *testing.T) {
	t.Parallel()
	for _, phase := range []string{"create", "command", "send", "receive"} {
		t.Run(phase, func(t *testing.T) {
			t.Parallel()
			f := startFake(t, tell(phase, 1, status(http.StatusUnauthorized)))
			_, err := deceived(t, f, quick())
			wantError(t, err, outcome{pam.ErrAuthFailed, phase == "receive"})
			if f.handshakes > 2 {
				t.Errorf("%d log-ins", f.handshakes)
			}
		})
	}
}

func TestRedirectsAreNeverFollowed(t *testing.T) {
	t.Parallel()
	for _, phase := range []string{"create", "command", "send", "receive"} {
		for _, code := range []int{301, 302, 303, 307, 308} {
			t.Run(fmt.Sprintf("%s %d", phase, code), func(t *testing.T) {
				t.Parallel()
				var visits atomic.Int64
				other := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visits.Add(1) }))
				t.Cleanup(other.Close)
				f := startFake(t, tell(phase, 1, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Location", other.URL)
					w.WriteHeader(code)
				}))
				_, err := deceived(t, f, quick())
				wantError(t, err, outcome{pam.ErrIO, phase == "receive"})
				if visits.Load() != 0 {
					t.Error("the redirect was followed")
				}
			})
		}
	}
}

func TestFaultsOfTidyingUpDoNotSpoilASuccess(t *testing.T) {
	t.Parallel()
	for _, phase := range []string{"signal", "delete"} {
		for name, l := range map[string]lie{"fault": fault500, "hang up": hangUp, "junk": raw("x"), "401": status(401)} {
			t.Run(phase+" "+name, func(t *testing.T) {
				t.Parallel()
				if _, err := deceived(t, startFake(t, tell(phase, 1, l)), quick()); err != nil {
					t.Errorf("the command succeeded, then: %v", err)
				}
			})
		}
	}
}

func TestOutputThatLiesIsAnError(t *testing.T) {
	t.Parallel()
	stream := func(name, id, text string) string {
		return `<rsp:Stream Name="` + name + `" CommandId="` + id + `">` + text + `</rsp:Stream>`
	}
	const id = "C0DE-1"
	good := stream("stdout", id, "b2s=")
	rows := map[string]string{
		"an end without an exit code":          good + doneState(id, ""),
		"an exit code that is a word":          good + doneState(id, "zzz"),
		"an exit code that is blank":           good + doneState(id, " "),
		"an exit code beyond 32 bits":          good + doneState(id, "4294967296"),
		"two exit codes":                       good + doneState(id, "0</rsp:ExitCode><rsp:ExitCode>1"),
		"two ends":                             good + doneState(id, "0") + doneState(id, "0"),
		"an unknown state":                     `<rsp:CommandState CommandId="` + id + `" State="Done"><rsp:ExitCode>0</rsp:ExitCode></rsp:CommandState>`,
		"base64 that is cut":                   stream("stdout", id, "b2s") + doneState(id, "0"),
		"base64 with a foreign letter":         stream("stdout", id, "b2*=") + doneState(id, "0"),
		"base64 with bits left over":           stream("stdout", id, "b2t=") + doneState(id, "0"),
		"base64 of standard error that is cut": stream("stderr", id, "b2s") + doneState(id, "0"),
		"output of another command":            stream("stdout", "C0DE-2", "b2s=") + doneState(id, "0"),
		"the end of another command":           good + doneState("C0DE-2", "0"),
		"a stream that is none":                stream("stdin", id, "b2s=") + doneState(id, "0"),
		"a second envelope":                    `</rsp:ReceiveResponse></s:Body></s:Envelope><s:Envelope xmlns:s="` + nsSOAP + `">`,
		"an answer cut in the middle":          good + `</rsp:ReceiveResponse></s:Body>`,
	}
	for name, body := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFake(t, tell("receive", 1, output(body)))
			_, err := deceived(t, f, quick())
			wantError(t, err, outcome{pam.ErrIO, true})
			if n := len(f.requests("receive")); n != 1 {
				t.Errorf("the lie was asked for %d times", n)
			}
		})
	}
}

func TestIdentifiersThatWouldBreakARequestAreRefused(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"", "a b", "a&amp;b", "&lt;/x&gt;", strings.Repeat("a", 65), "ä", "a\x00"} {
		t.Run(fmt.Sprintf("%.10q", id), func(t *testing.T) {
			t.Parallel()
			f := startFake(t, tell("create", 1, raw(envelope(actionCreated, `<rsp:Shell><rsp:ShellId>`+id+`</rsp:ShellId></rsp:Shell>`))))
			_, err := deceived(t, f, quick())
			wantError(t, err, outcome{pam.ErrIO, false})
			f = startFake(t, tell("command", 1, raw(envelope(actionCommand, `<rsp:CommandResponse><rsp:CommandId>`+id+`</rsp:CommandId></rsp:CommandResponse>`))))
			_, err = deceived(t, f, quick())
			wantError(t, err, outcome{pam.ErrIO, false})
		})
	}
}

func TestAServerThatKeepsUsWaitingIsLeft(t *testing.T) {
	t.Parallel()
	where := []struct {
		phase string
		n     int
		kind  pam.Kind
		sent  bool
	}{
		{"create", 1, pam.ErrUnreachable, false},
		{"command", 1, pam.ErrIO, false},
		{"send", 2, pam.ErrIO, false},
		{"send", 3, pam.ErrIO, true},
		{"receive", 1, pam.ErrIO, true},
	}
	for name, l := range map[string]lie{"silence": silence, "a trickle": trickle, "hanging up": hangUp, "half an answer": halfAnswer} {
		for _, w := range where {
			t.Run(fmt.Sprintf("%s at %s %d", name, w.phase, w.n), func(t *testing.T) {
				t.Parallel()
				f := startFake(t, tell(w.phase, w.n, l))
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_, err := hurry(ctx, f.target(), w.phase)
				wantError(t, err, outcome{w.kind, w.sent})
				if ctx.Err() != nil {
					t.Error("the server kept us until the caller's deadline")
				}
				if got := len(f.requests(w.phase)); w.phase != "receive" && got != w.n {
					t.Errorf("%d requests, the %dth was not answered and none may be sent again", got, w.n)
				}
				if got := len(f.requests("receive")); w.phase == "receive" && got != 1+maxRetries {
					t.Errorf("output was asked for %d times, want %d", got, 1+maxRetries)
				}
			})
		}
	}
}
