package remotetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"keyturn/pkg/needtest"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// patience bounds every wait of the suite on a busy machine.
const patience = 30 * time.Second

// Suite runs every test that a transport must pass.
func Suite(t *testing.T, start func(t *testing.T) Fixture) {
	t.Helper()
	tests := []struct {
		name string
		run  func(t *testing.T, f Fixture)
	}{
		{"output and exit code come back", testExitCodes},
		{"standard error is kept apart", testBoth},
		{"every byte of the input arrives", testInput},
		{"an input of no bytes still ends", testEmptyInput},
		{"the input is not destroyed", testInputSurvives},
		{"output is shown in order as it arrives", testOnOutput},
		{"a session runs several commands", testSeveral},
		{"much output arrives whole", testBigOutput},
		{"output above the cap is an error", testTooMuchOutput},
		{"a wrong password costs one attempt", testWrongPassword},
		{"a machine that does not answer is unreachable", testUnreachable},
		{"an unknown machine gets no credential", testUntrusted},
		{"a cancelled context opens nothing", testCancelledDial},
		{"a cancelled context ends the command", testCancelledRun},
		{"a deadline ends the command", testDeadlineRun},
		{"a command to be kept survives its session", testKeepRunning},
		{"a session closes twice and then runs nothing", testClose},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t, start(t))
		})
	}
}

// within returns a context for work that must not hang.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// dial opens a session and closes it when the test ends.
func dial(t *testing.T, f Fixture) remote.Session {
	t.Helper()
	s, err := f.Dialer.Dial(within(t), f.Target)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// run runs line with in on its input and fails the test on an error.
func run(t *testing.T, s remote.Session, line string, in []byte) remote.Result {
	t.Helper()
	res, err := s.Run(within(t), remote.Script{Line: line}, secret.Copy(in))
	if err != nil {
		t.Fatalf("run %q: %v", line, err)
	}
	return res
}

// wantKind checks the type, the kind and the address of a failure, and that
// its text does not hold the password.
func wantKind(t *testing.T, err error, kind pam.Kind, target remote.Target) *remote.Error {
	t.Helper()
	var e *remote.Error
	if !errors.As(err, &e) {
		t.Fatalf("the error is %T (%v), want *remote.Error", err, err)
	}
	if !errors.Is(err, kind) {
		t.Errorf("the error is %q (%v), want %q", e.Kind, err, kind)
	}
	if e.Address != target.Address() || e.Op == "" {
		t.Errorf("the error names address %q and op %q, want %q and some op", e.Address, e.Op, target.Address())
	}
	if p := string(target.Password.Reveal()); p != "" && strings.Contains(err.Error(), p) {
		t.Errorf("the error shows the password: %v", err)
	}
	return e
}

func testExitCodes(t *testing.T, f Fixture) {
	t.Helper()
	s := dial(t, f)
	for _, code := range []int{0, 1, 10, 97, 255} {
		want := code
		if f.Exits != nil {
			want = f.Exits(code)
		}
		if res := run(t, s, f.Lines.Exit(code), nil); res.ExitCode != want {
			t.Errorf("exit code %d came back as %d, want %d", code, res.ExitCode, want)
		}
	}
	if res := run(t, s, f.Lines.Cat, []byte("hello\n")); string(res.Stdout) != "hello\n" {
		t.Errorf("output %q, want %q", res.Stdout, "hello\n")
	}
}

func testBoth(t *testing.T, f Fixture) {
	t.Helper()
	res := run(t, dial(t, f), f.Lines.Both, nil)
	if string(res.Stdout) != "out\n" || string(res.Stderr) != "err\n" {
		t.Errorf("standard output %q, error %q", res.Stdout, res.Stderr)
	}
}

func testInput(t *testing.T, f Fixture) {
	t.Helper()
	s := dial(t, f)
	for _, n := range []int{1, 81, 99_999, 100_000, 100_001, 200_000, 350_123} {
		in := make([]byte, n)
		for i := range in {
			in[i] = byte(i * 7 >> (i % 3) & 0xff)
		}
		sum := sha256.Sum256(in)
		res := run(t, s, f.Lines.Digest, in)
		if got := strings.TrimSpace(string(res.Stdout)); got != hex.EncodeToString(sum[:]) {
			t.Errorf("%d bytes of input arrived changed: digest %q", n, got)
		}
	}
}

func testEmptyInput(t *testing.T, f Fixture) {
	t.Helper()
	if res := run(t, dial(t, f), f.Lines.Cat, nil); len(res.Stdout) != 0 || res.ExitCode != 0 {
		t.Errorf("output %q, exit code %d", res.Stdout, res.ExitCode)
	}
}

func testInputSurvives(t *testing.T, f Fixture) {
	t.Helper()
	in := secret.New([]byte("kept by its owner"))
	if _, err := dial(t, f).Run(within(t), remote.Script{Line: f.Lines.Cat}, in); err != nil {
		t.Fatal(err)
	}
	if string(in.Reveal()) != "kept by its owner" {
		t.Errorf("the input became %q", in.Reveal())
	}
}

func testOnOutput(t *testing.T, f Fixture) {
	t.Helper()
	var seen bytes.Buffer
	calls := 0
	script := remote.Script{Line: f.Lines.Slow, OnOutput: func(chunk []byte) {
		calls++
		seen.Write(chunk)
	}}
	res, err := dial(t, f).Run(within(t), script, secret.Value{})
	if err != nil {
		t.Fatal(err)
	}
	if want := "tick 1\ntick 2\ntick 3\n"; seen.String() != want || string(res.Stdout) != want {
		t.Errorf("shown %q, returned %q, want both %q", seen.String(), res.Stdout, want)
	}
	if calls < 2 {
		t.Errorf("output was shown in %d part, all at the end", calls)
	}
}

func testSeveral(t *testing.T, f Fixture) {
	t.Helper()
	s := dial(t, f)
	for i := range 5 {
		word := fmt.Sprintf("command %d", i)
		if res := run(t, s, f.Lines.Cat, []byte(word)); string(res.Stdout) != word {
			t.Errorf("output %q, want %q", res.Stdout, word)
		}
	}
	if f.LogIns == nil {
		return
	}
	if accepted, refused := f.LogIns(); accepted != 1 || refused != 0 {
		t.Errorf("one session cost %d log-ins and %d refusals", accepted, refused)
	}
}

func testBigOutput(t *testing.T, f Fixture) {
	t.Helper()
	const n = 1 << 20
	res := run(t, dial(t, f), f.Lines.Big(n), nil)
	if len(res.Stdout) != n || bytes.Trim(res.Stdout, "x") != nil {
		t.Errorf("%d bytes of output came back as %d", n, len(res.Stdout))
	}
}

func testTooMuchOutput(t *testing.T, f Fixture) {
	t.Helper()
	_, err := dial(t, f).Run(within(t), remote.Script{Line: f.Lines.Big(remote.MaxOutput + 1)}, secret.Value{})
	if e := wantKind(t, err, pam.ErrIO, f.Target); !e.Sent {
		t.Error("the command saw its input, the error says it ran nothing")
	}
}

func testWrongPassword(t *testing.T, f Fixture) {
	t.Helper()
	target := f.Target
	target.Password, target.PrivateKey = secret.New([]byte("n0t-the-passw0rd")), secret.Value{}
	_, err := f.Dialer.Dial(within(t), target)
	if e := wantKind(t, err, pam.ErrAuthFailed, target); e.Sent {
		t.Error("nothing was sent, the error says otherwise")
	}
	if f.LogIns == nil {
		needtest.Missing(t, "the fixture lacks LogIns")
	}
	if accepted, refused := f.LogIns(); accepted != 0 || refused != 1 {
		t.Errorf("%d log-ins were accepted, %d refused; want 0 and 1", accepted, refused)
	}
}

func testUnreachable(t *testing.T, f Fixture) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	target := f.Target
	target.Host = "127.0.0.1"
	target.Port, _ = strconv.Atoi(port)
	_, err = f.Dialer.Dial(within(t), target)
	_ = wantKind(t, err, pam.ErrUnreachable, target)
}

func testUntrusted(t *testing.T, f Fixture) {
	t.Helper()
	_, err := f.Dialer.Dial(within(t), f.Untrusted)
	e := wantKind(t, err, pam.ErrUntrusted, f.Untrusted)
	if e.Server == "" || !strings.HasPrefix(e.Fingerprint, "SHA256:") {
		t.Errorf("the server is shown as %q, %q", e.Server, e.Fingerprint)
	}
	if f.LogIns != nil {
		if accepted, refused := f.LogIns(); accepted+refused != 0 {
			t.Errorf("a server that is not trusted saw %d log-ins", accepted+refused)
		}
	}
	s, err := f.Dialer.Dial(within(t), f.Trust(f.Untrusted, e.Server))
	if err != nil {
		t.Fatalf("the server that was shown is still refused: %v", err)
	}
	_ = s.Close()
}

func testCancelledDial(t *testing.T, f Fixture) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.Dialer.Dial(ctx, f.Target)
	_ = wantKind(t, err, pam.ErrInterrupted, f.Target)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v does not wrap context.Canceled", err)
	}
}

// hang runs the line that never ends and calls then at its first output.
func hang(ctx context.Context, t *testing.T, s remote.Session, script remote.Script, then func()) error {
	t.Helper()
	first := true
	script.OnOutput = func([]byte) {
		if first {
			first = false
			then()
		}
	}
	// Without input the command has all of it once it runs; with some, it may say
	// something before that has left.
	_, err := s.Run(ctx, script, secret.Value{})
	return err
}

func testCancelledRun(t *testing.T, f Fixture) {
	t.Helper()
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	s := dial(t, f)
	err := hang(ctx, t, s, remote.Script{Line: f.Lines.Hang}, cancel)
	if e := wantKind(t, err, pam.ErrInterrupted, f.Target); !e.Sent {
		t.Error("the command saw its input, the error says it ran nothing")
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v does not wrap context.Canceled", err)
	}
	_ = s.Close()
	wantRunning(t, f, 0)
}

func testDeadlineRun(t *testing.T, f Fixture) {
	t.Helper()
	s := dial(t, f)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := hang(ctx, t, s, remote.Script{Line: f.Lines.Hang}, func() {})
	_ = wantKind(t, err, pam.ErrUnreachable, f.Target)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v does not wrap context.DeadlineExceeded", err)
	}
	_ = s.Close()
	wantRunning(t, f, 0)
}

func testKeepRunning(t *testing.T, f Fixture) {
	t.Helper()
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	s := dial(t, f)
	err := hang(ctx, t, s, remote.Script{Line: f.Lines.Hang, KeepRunning: true}, cancel)
	if e := wantKind(t, err, pam.ErrInterrupted, f.Target); !e.Sent {
		t.Error("the command saw its input, the error says it ran nothing")
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	wantRunning(t, f, 1)
}

// wantRunning waits until n commands run, and for none it allows time to die;
// what must stay is looked at again after a while.
func wantRunning(t *testing.T, f Fixture, n int) {
	t.Helper()
	if f.Running == nil {
		needtest.Missing(t, "the fixture lacks Running")
	}
	if n > 0 {
		time.Sleep(300 * time.Millisecond) // a kill that must not come would have come by now
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx := within(t); f.Running() != n; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d commands run, want %d", f.Running(), n)
		}
		if n > 0 {
			t.Fatalf("%d commands run, want %d", f.Running(), n)
		}
	}
}

func testClose(t *testing.T, f Fixture) {
	t.Helper()
	s := dial(t, f)
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
	_, err := s.Run(within(t), remote.Script{Line: f.Lines.Cat}, secret.Value{})
	if e := wantKind(t, err, pam.ErrIO, f.Target); e.Sent {
		t.Error("a closed session sent its input")
	}
}
