package agent_test

import (
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Microsoft/go-winio"
	"go.uber.org/goleak"
	"golang.org/x/sys/windows"

	"keyturn/pkg/needtest"
	"keyturn/pkg/pam"
	"keyturn/vault/agent"
)

func TestMain(m *testing.M) {
	// The library reads all completions of the process in one goroutine for ever.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/Microsoft/go-winio.ioCompletionProcessor"))
}

// pipes makes the pipe of each test another one's: names are of the whole machine.
var pipes atomic.Int32

func socketOf(*testing.T) string {
	return agent.Socket("Ab0_cdefghijklmnopqrs"+pam.UID('a'+pipes.Add(1)), "")
}

func dialRaw(t *testing.T, socket string) net.Conn {
	t.Helper()
	wait := 5 * time.Second
	conn, err := winio.DialPipe(socket, &wait)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// warm makes a new pipe under Wine like one under Windows, where the handle that
// only keeps the pipe's name takes no caller. Wine's takes the first.
func warm(t *testing.T, socket string) {
	t.Helper()
	if windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil {
		_ = dialRaw(t, socket).Close()
	}
}

// endWriting hangs up: a pipe has no half that can be closed.
func endWriting(conn net.Conn) { _ = conn.Close() }

func user(t *testing.T) string {
	t.Helper()
	u, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		t.Fatal(err)
	}
	return u.User.Sid.String()
}

func TestThePipeIsNamedByItsUserAndVaultWhateverTheCase(t *testing.T) {
	t.Parallel()
	a, b := agent.Socket("Ab0_cdefghijklmnopqrst", "x"), agent.Socket("aB0_cdefghijklmnopqrst", "y")
	if !strings.HasPrefix(a, `\\.\pipe\keyturn-agent-`+user(t)+"-") || strings.EqualFold(a, b) {
		t.Errorf("%s and %s", a, b)
	}
}

func TestThePipeLetsItsUserInAlone(t *testing.T) {
	t.Parallel()
	socket, _ := start(t, time.Hour)
	conn := dialRaw(t, socket)
	defer conn.Close() //nolint:errcheck // only asked
	sd, err := windows.GetSecurityInfo(windows.Handle(conn.(interface{ Fd() uintptr }).Fd()), windows.SE_KERNEL_OBJECT,
		windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		t.Fatal(err)
	}
	want := "O:" + user(t) + "D:P(D;;FA;;;NU)(A;;FA;;;" + user(t) + ")"
	if sd.String() != want {
		t.Errorf("its security is %s, want %s", sd, want)
	}
}

// A pipe that was there first, with nobody behind it that serves keys, gets no
// question and keeps the agent from starting, which says so.
func TestAPipeThatWasThereFirstIsNoAgent(t *testing.T) {
	t.Parallel()
	for name, owner := range map[string]string{"of somebody else": "BA", "of this user": user(t)} {
		socket := socketOf(t)
		l, err := winio.ListenPipe(socket, &winio.PipeConfig{SecurityDescriptor: "O:" + owner + "D:(A;;GA;;;WD)"})
		if errors.Is(err, windows.ERROR_INVALID_OWNER) {
			needtest.Missing(t, "an administrator is needed to be somebody else")
		}
		if err != nil {
			t.Fatal(err)
		}
		warm(t, socket)
		heard := make(chan int, 2)
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				n, _ := conn.Read(make([]byte, 64))
				heard <- n
				_ = conn.Close()
			}
		}()
		_, err = agent.Key(t.Context(), socket)
		asked := <-heard != 0
		if stranger := owner == "BA"; stranger && (!errors.Is(err, pam.ErrDenied) || asked) || !stranger && (err == nil || !asked) {
			t.Errorf("%s: it was asked: %v, %v", name, asked, err)
		}
		_, err = agent.Listen(t.Context(), key(), agent.Options{Socket: socket, Idle: time.Hour, Now: time.Now})
		if !errors.Is(err, pam.ErrDenied) {
			t.Errorf("%s: an agent beside it: %v", name, err)
		}
		_ = l.Close()
	}
}

// A pipe that takes nobody is not waited for without end.
func TestAPipeThatTakesNobodyIsNoAgent(t *testing.T) {
	t.Parallel()
	socket := socketOf(t)
	l, err := winio.ListenPipe(socket, nil) // and no Accept
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // a test's
	warm(t, socket)
	if _, err := agent.Key(t.Context(), socket); !errors.Is(err, pam.ErrDenied) {
		t.Errorf("%v", err)
	}
}
