package script_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/script"
	"keyturn/pkg/lab/standins"
	"keyturn/pkg/powershell"
	"keyturn/pkg/secret"
)

// A runner answers the frames of a world's machine: the twin, or the shipped
// script in a PowerShell engine. Both work on the one model of the world, so a
// scenario cannot mean two things.
type runner interface {
	// frame runs one frame in a process that ends with the world's.
	frame(w *world, arguments []string, in []byte) (out []byte, code int, err error)
}

// errUncertain is a session that broke: nobody knows what the script did.
var errUncertain = errors.New("connection reset")

type twin struct{}

func (twin) frame(w *world, _ []string, in []byte) ([]byte, int, error) {
	var out bytes.Buffer
	code := script.Answer(w.process, w.m, w.dir, bytes.NewReader(in), &out)
	if code == script.ExitKilled {
		return out.Bytes(), code, errUncertain
	}
	return out.Bytes(), code, nil
}

// An engine is PowerShell with stand-ins for what Windows would provide, which
// ask the model over a socket.
type engine struct{ path, standins, socket, data string }

// exitPower is how the stand-ins end the engine when the model hangs up: the
// machine lost its power.
const exitPower = 137

func (e *engine) frame(w *world, arguments []string, in []byte) ([]byte, int, error) {
	cmd := exec.CommandContext(w.process, e.path, arguments...)
	cmd.Env = append(os.Environ(), standins.EnvFolder+"="+e.standins, standins.EnvModel+"="+e.socket, "ProgramData="+e.data)
	if info, err := w.m.Info(); err == nil && info.Constrained {
		cmd.Env = append(cmd.Env, "PSENGINE_LANGUAGE=constrained")
	}
	cmd.Stdin = bytes.NewReader(in)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if errs.Len() > 0 {
		w.errs.Write(errs.Bytes())
	}
	code := cmd.ProcessState.ExitCode()
	if code == exitPower || code < 0 {
		return out.Bytes(), script.ExitKilled, errUncertain
	}
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		err = nil
	}
	return out.Bytes(), code, err
}

// enginePath is the PowerShell engine of this machine, or skips.
func enginePath(tb testing.TB) string {
	tb.Helper()
	path := os.Getenv("KEYTURN_PWSH")
	if path == "" {
		tb.Skip("KEYTURN_PWSH names no PowerShell engine that takes stand-ins: the scenarios ran on the twin only")
	}
	return path
}

// shared is the folder of stand-ins, written once for all tests.
var shared = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "keyturn-standins-")
	if err != nil {
		return "", err
	}
	return dir, standins.WriteTo(dir)
})

// inEngine has a world answered by the shipped script from now on. Its socket
// lies in a folder of a short name: the path of one is bounded.
func (w *world) inEngine(tb testing.TB) *world {
	tb.Helper()
	folder, err := shared()
	if err != nil {
		tb.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "keyturn-") //nolint:usetesting // see above
	if err != nil {
		tb.Fatal(err)
	}
	e := &engine{path: enginePath(tb), standins: folder, socket: filepath.Join(dir, "model"), data: dir}
	serve(tb, w.m, e.socket, dir)
	w.side, w.dir = e, filepath.Join(dir, "Keyturn", "journal")
	return w
}

func serve(tb testing.TB, m *model.Machine, socket, dir string) {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(context.Background(), "unix", socket)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := m.ServeListener(ctx, l); err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(func() {
		cancel()
		serving.Wait()
		_ = os.RemoveAll(dir)
	})
}

// send runs a frame on whoever answers for this world and keeps what came out.
func (w *world) send(line string, in secret.Value) ([]byte, int, error) {
	w.carried = -1
	if f, err := powershell.ReadFrame(bytes.NewReader(in.Reveal())); err == nil {
		w.carried = len(f.Secrets)
	}
	out, code, err := w.side.frame(w, strings.Fields(line)[1:], in.Reveal())
	w.out.Write(out)
	return out, code, err
}
