package agent_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault/agent"
)

func key() secret.Value { return secret.New([]byte("0123456789abcdef0123456789abcdef")) }

// start runs an agent until the test ends and returns its socket. ended is
// closed when it has ended by itself.
func start(t *testing.T, idle time.Duration) (socket string, ended chan error) {
	t.Helper()
	socket = socketOf(t)
	a, err := agent.Listen(t.Context(), key(), agent.Options{Socket: socket, Slot: "0a1b2c3d", Idle: idle, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	warm(t, socket)
	ctx, cancel := context.WithCancel(context.Background())
	ended = make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended <- a.Serve(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return socket, ended
}

func TestAnAgentGivesItsKeyUntilItIsLocked(t *testing.T) {
	t.Parallel()
	socket, ended := start(t, time.Hour)
	for range 3 {
		held, err := agent.Key(t.Context(), socket)
		if err != nil || !held.Key.Equal(key()) || held.Slot != "0a1b2c3d" || time.Until(held.Until) < 50*time.Minute {
			t.Fatalf("%+v, %v", held, err)
		}
	}
	_, err := agent.Listen(t.Context(), key(), agent.Options{Socket: socket, Idle: time.Hour, Now: time.Now})
	if !errors.Is(err, pam.ErrConflict) {
		t.Errorf("a second agent: %v", err)
	}
	if err := agent.Lock(t.Context(), socket); err != nil {
		t.Fatal(err)
	}
	again, err := agent.Listen(t.Context(), key(), agent.Options{Socket: socket, Idle: time.Hour, Now: time.Now})
	if err != nil {
		t.Fatal("the next agent: ", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	served := make(chan error, 1)
	go func() { served <- again.Serve(t.Context()) }()
	if err := agent.Lock(t.Context(), socket); err != nil {
		t.Errorf("the end of the first agent took the socket of the next one: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("the next one ended with %v", err)
	}
	if _, err := agent.Key(t.Context(), socket); !errors.Is(err, agent.ErrNone) {
		t.Errorf("after its end: %v", err)
	}
}

// Who was told that the agent is locked gets no key from it, and can start another one
// in its place, which stays reachable when the first has cleared up.
func TestALockedAgentHasNoKeyAndIsInNobodysWay(t *testing.T) {
	t.Parallel()
	socket := socketOf(t)
	for range 50 {
		a, err := agent.Listen(t.Context(), key(), agent.Options{Socket: socket, Idle: time.Hour, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- a.Serve(context.Background()) }()
		if err := agent.Lock(t.Context(), socket); err != nil {
			t.Fatal(err)
		}
		if _, err := agent.Key(t.Context(), socket); !errors.Is(err, agent.ErrNone) {
			t.Fatalf("locked, and still: %v", err)
		}
		next, err := agent.Listen(t.Context(), key(), agent.Options{Socket: socket, Idle: time.Hour, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
		go func() { ended <- next.Serve(context.Background()) }()
		if err := agent.Lock(t.Context(), socket); err != nil {
			t.Fatalf("the next one is not reached: %v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("the next one ended with %v", err)
		}
	}
}

func TestAnIdleAgentEnds(t *testing.T) {
	t.Parallel()
	socket, ended := start(t, 20*time.Millisecond)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := agent.Lock(t.Context(), socket); !errors.Is(err, agent.ErrNone) {
		t.Errorf("after its end: %v", err)
	}
}

func TestWhatIsNoRequestEndsNothing(t *testing.T) {
	t.Parallel()
	socket, _ := start(t, time.Hour)
	for _, text := range []string{"", "\n", "{}\n", `{"op":"dump"}` + "\n", strings.Repeat("x", 1<<16), "no newline"} {
		conn := dialRaw(t, socket)
		_, _ = conn.Write([]byte(text))
		endWriting(conn)
		b := make([]byte, 256)
		n, _ := conn.Read(b)
		if strings.Contains(string(b[:n]), `"ok":true`) || strings.Contains(string(b[:n]), "0123456789abcdef") {
			t.Errorf("%.20q was answered with %q", text, b[:n])
		}
		_ = conn.Close()
	}
	if _, err := agent.Key(t.Context(), socket); err != nil {
		t.Error(err)
	}
}
