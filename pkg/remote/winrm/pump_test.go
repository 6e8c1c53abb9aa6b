package winrm

import (
	"context"
	"errors"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"keyturn/pkg/needtest"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// only makes a server lie at requests first to last of a phase.
func only(phase string, first, last int, l lie) func(*fake) {
	return func(f *fake) {
		f.lie = func(p string, i int, w http.ResponseWriter, r *http.Request) bool {
			if p != phase || i < first || i > last {
				return false
			}
			l(w, r)
			return true
		}
	}
}

func TestWhatPassesByDoesNotFailTheCommand(t *testing.T) {
	t.Parallel()
	timedOut := func(w http.ResponseWriter, _ *http.Request) { sayFault(w, "w:TimedOut", codeTimedOut, "later") }
	rows := map[string]func(*fake){
		"five operation timeouts":               only("receive", 1, 5, timedOut),
		"an operation timeout with status 200":  only("receive", 1, 1, raw(faultBody("w:TimedOut", codeTimedOut, ""))),
		"answers without output":                only("receive", 1, 5, output("")),
		"five broken connections":               only("receive", 1, maxRetries, hangUp),
		"an answer cut in the middle":           only("receive", 1, 1, halfAnswer),
		"a log-in forgotten while output waits": only("receive", 1, 1, status(http.StatusUnauthorized)),
		"a shell whose quota is used up": only("command", 1, 1, func(w http.ResponseWriter, _ *http.Request) {
			sayFault(w, "w:QuotaLimit", codeQuota, "quota")
		}),
		"a server that hangs up after each answer": func(f *fake) {
			f.lie = func(_ string, _ int, w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Connection", "close")
				return false
			}
		},
	}
	for name, change := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFake(t, change)
			if _, err := deceived(t, f, quick()); err != nil {
				t.Errorf("the command failed: %v", err)
			}
			if n := len(f.requests("send")); n != 3 {
				t.Errorf("three chunks took %d requests", n)
			}
		})
	}
}

func TestAQuotaFaultBuysOneNewShell(t *testing.T) {
	t.Parallel()
	f := startFake(t, tell("command", 1, func(w http.ResponseWriter, _ *http.Request) {
		sayFault(w, "w:QuotaLimit", codeQuota, "quota")
	}))
	_, err := deceived(t, f, quick())
	wantError(t, err, outcome{pam.ErrIO, false})
	if f.shells != 2 || len(f.requests("delete")) != 2 {
		t.Errorf("%d shells were opened and %d deleted, want 2 and 2", f.shells, len(f.requests("delete")))
	}
}

func TestAnEmptyAnswerAtOnceIsAskedForLessAndLess(t *testing.T) {
	t.Parallel()
	f := startFake(t, tell("receive", 1, output("")))
	o := quick()
	o.Backoff = 20 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := dialAndRun(ctx, NewDialer(o), f.target(), remote.Script{Line: "digest"})
	wantError(t, err, outcome{pam.ErrUnreachable, true})
	if n := len(f.requests("receive")); n < 3 || n > 10 {
		t.Errorf("%d requests in 2 s, want between 3 and 10", n)
	}
}

func TestRequestsAreSmallAndAskForAPipe(t *testing.T) {
	t.Parallel()
	f := startFake(t)
	if _, err := deceived(t, f, quick()); err != nil {
		t.Fatal(err)
	}
	command := f.requests("command")[0]
	if !strings.Contains(command, `"WINRS_CONSOLEMODE_STDIN">FALSE<`) || !strings.Contains(command, `"WINRS_SKIP_CMD_SHELL">FALSE<`) {
		t.Errorf("the command's options are not ours: %s", command)
	}
	sends := f.requests("send")
	for i, body := range sends {
		if len(body) > 150_000 {
			t.Errorf("chunk %d makes an envelope of %d bytes", i+1, len(body))
		}
		if ends := strings.Contains(body, `End="true"`); ends != (i == len(sends)-1) {
			t.Errorf("chunk %d of %d says end: %v", i+1, len(sends), ends)
		}
	}
	if f.anonymous != 1 || f.handshakes != 1 || f.conns != 1 || len(f.requests("create")) != 1 {
		t.Errorf("a session cost %d questions, %d handshakes, %d connections and %d creations, want one each",
			f.anonymous, f.handshakes, f.conns, len(f.requests("create")))
	}
}

func TestAConnectionThatIdledAwayIsReplacedBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	for _, offer := range []string{"Negotiate", "Basic"} {
		t.Run(offer, func(t *testing.T) {
			t.Parallel()
			var late atomic.Int64
			o := quick()
			o.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
			f := startFake(t, func(f *fake) { f.offers = []string{offer} })
			s, err := NewDialer(o).Dial(t.Context(), f.target())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			for i := range 3 {
				if i > 0 {
					f.CloseClientConnections()
					late.Add(int64(time.Minute))
				}
				if _, err := s.Run(t.Context(), remote.Script{Line: "cat"}, secret.New([]byte("x"))); err != nil {
					t.Fatalf("run %d: %v", i+1, err)
				}
			}
			if f.accepted != 3 || f.refused != 0 || len(f.requests("command")) != 3 {
				t.Errorf("%d log-ins, %d refused, %d commands; want 3, 0, 3", f.accepted, f.refused, len(f.requests("command")))
			}
		})
	}
}

func TestAConnectionThatOnlyIdledIsKept(t *testing.T) {
	t.Parallel()
	var late atomic.Int64
	o := quick()
	o.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	f := startFake(t)
	s, err := NewDialer(o).Dial(t.Context(), f.target())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	late.Add(int64(time.Minute))
	if _, err := s.Run(t.Context(), remote.Script{Line: "cat"}, secret.New([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	if f.conns != 1 {
		t.Errorf("%d connections, want the first to be kept", f.conns)
	}
}

func TestACommandToBeKeptIsNeitherSignalledNorLosesItsShell(t *testing.T) {
	t.Parallel()
	f := startFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	script := remote.Script{Line: "hang", KeepRunning: true, OnOutput: func([]byte) { cancel() }}
	res, err := dialAndRun(ctx, NewDialer(quick()), f.target(), script)
	wantError(t, err, outcome{pam.ErrInterrupted, true})
	if string(res.Stdout) != "started\n" {
		t.Errorf("the output until then is %q", res.Stdout)
	}
	if n := len(f.requests("signal")) + len(f.requests("delete")); n != 0 {
		t.Errorf("%d requests to end it", n)
	}
}

func TestACommandToBeKeptThatNeverGotItsInputIsEnded(t *testing.T) {
	t.Parallel()
	f := startFake(t, tell("send", 2, fault500))
	_, err := dialAndRun(t.Context(), NewDialer(quick()), f.target(), remote.Script{Line: "digest", KeepRunning: true})
	wantError(t, err, outcome{pam.ErrIO, false})
	if len(f.requests("signal")) != 1 || len(f.requests("delete")) != 1 {
		t.Error("a command that runs nothing was left behind")
	}
}

// PowerShell in constrained language says so and ends before it has read anything:
// its words must not be lost in the pipe that broke.
func TestTheLastWordsOfACommandThatTakesNoInputAreHeard(t *testing.T) {
	t.Parallel()
	for _, code := range []string{codePipeEnded, codePipeClosing} {
		f := startFake(t, tell("send", 1, func(w http.ResponseWriter, _ *http.Request) {
			sayFault(w, "w:InternalError", code, "The pipe has been ended. ")
		}))
		res, err := dialAndRun(t.Context(), NewDialer(quick()), f.target(), remote.Script{Line: "both"})
		wantError(t, err, outcome{pam.ErrIO, false})
		if len(res.Stdout) == 0 || !strings.Contains(err.Error(), "pipe has been ended") {
			t.Errorf("heard %q, with %v", res.Stdout, err)
		}
		if n := len(f.requests("signal")); n != 0 {
			t.Errorf("a command that ended was ended %d times", n)
		}
	}
}

func TestACommandLineThatNoRequestCarriesIsRefused(t *testing.T) {
	t.Parallel()
	f := startFake(t)
	for _, line := range []string{"a ]]> b", "a\nb", "a\x00", strings.Repeat("x", maxLine+1)} {
		_, err := dialAndRun(t.Context(), NewDialer(quick()), f.target(), remote.Script{Line: line})
		wantError(t, err, outcome{pam.ErrIO, false})
	}
	if n := len(f.requests("command")); n != 0 {
		t.Errorf("%d of them were sent", n)
	}
}

func TestThePasswordOfASessionIsItsOwn(t *testing.T) {
	t.Parallel()
	f := startFake(t)
	target := f.target()
	s, err := NewDialer(quick()).Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	own := s.(*session).client.t.Password
	target.Password.Destroy()
	if own.IsZero() {
		t.Error("destroying the caller's password would make the next log-in fail")
	}
	_ = s.Close()
	if !own.IsZero() {
		t.Error("a closed session keeps its password")
	}
}

func TestFailedDialsLeaveNothingBehind(t *testing.T) {
	if _, err := os.ReadDir("/proc/self/fd"); err != nil {
		needtest.Missing(t, "/proc is needed to count files")
	}
	f := startFake(t)
	wrong, untrusted := f.target(), f.target()
	wrong.Password = secret.New([]byte("wrong"))
	untrusted.Pin = "sha256:00"
	d := NewDialer(quick())
	fail := func(n int) {
		for range n {
			for _, target := range []remote.Target{wrong, untrusted} {
				if _, err := d.Dial(t.Context(), target); err == nil {
					t.Fatal("logged in")
				}
			}
		}
	}
	count := func() (fds, goroutines int) {
		for range 50 { // the server's side takes its time
			entries, _ := os.ReadDir("/proc/self/fd")
			fds, goroutines = len(entries), runtime.NumGoroutine()
			time.Sleep(2 * time.Millisecond)
		}
		return fds, goroutines
	}
	fail(2)
	fds, goroutines := count()
	fail(50)
	if fds2, goroutines2 := count(); fds2 > fds+2 || goroutines2 > goroutines+2 {
		t.Errorf("after 100 failed log-ins: files %d, were %d; goroutines %d, were %d", fds2, fds, goroutines2, goroutines)
	}
}

func TestAFaultIsTypedAndItsWordsAreCleaned(t *testing.T) {
	t.Parallel()
	f := startFake(t, tell("create", 1, func(w http.ResponseWriter, _ *http.Request) {
		sayFault(w, "w:X", "1", "no\u009b31m\u202e way\n"+strings.Repeat("long ", 1000))
	}))
	_, err := NewDialer(quick()).Dial(t.Context(), f.target())
	var flt *Fault
	if !errors.As(err, &flt) || flt.Status != http.StatusInternalServerError || flt.Code != "1" {
		t.Fatalf("no typed fault in %v", err)
	}
	if strings.ContainsAny(err.Error(), "\u009b\u202e\n") || strings.Contains(err.Error(), `\u`) || len(err.Error()) > 1000 {
		t.Errorf("the fault's text is raw or long: %q", err.Error())
	}
}
