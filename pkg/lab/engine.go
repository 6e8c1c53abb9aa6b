package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/standins"
)

// A scriptRunner runs PowerShell on a machine.
type scriptRunner struct {
	script func(ctx context.Context, h *host, arguments []string, in io.Reader, out, errs io.Writer) int
	any    bool // any script, not only the shipped one
}

// scripts chooses what runs the shipped script.
func (f *Fleet) scripts(o Options) (scriptRunner, error) {
	if o.Engine == "" {
		return scriptRunner{script: inGo(o.answer)}, nil
	}
	engine, err := exec.LookPath(o.Engine)
	if err != nil {
		return scriptRunner{}, fmt.Errorf("find the PowerShell engine: %w", err)
	}
	folder := filepath.Join(f.dir, "standins")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return scriptRunner{}, fmt.Errorf("make the folder of stand-ins: %w", err)
	}
	if err := standins.WriteTo(folder); err != nil {
		return scriptRunner{}, fmt.Errorf("write stand-ins: %w", err)
	}
	e := engineRunner{path: engine, standins: folder, environment: o.Environment}
	return scriptRunner{script: e.run, any: true}, nil
}

func inGo(a answer) func(context.Context, *host, []string, io.Reader, io.Writer, io.Writer) int {
	return func(ctx context.Context, h *host, _ []string, in io.Reader, out, _ io.Writer) int {
		return a(ctx, h.machine, journalDir(h.dir), in, out)
	}
}

// journalDir is where the script keeps its journal, below ProgramData.
func journalDir(dir string) string { return filepath.Join(programData(dir), "Keyturn", "journal") }

// An engineRunner runs scripts in a real PowerShell engine, in which stand-ins
// take the place of what Windows would provide.
type engineRunner struct {
	path, standins string
	environment    []string
}

func (e engineRunner) run(ctx context.Context, h *host, arguments []string, in io.Reader, out, errs io.Writer) int {
	cmd := exec.CommandContext(ctx, e.path, arguments...) //nolint:gosec // the lab's own engine, arguments of an administrator
	cmd.Dir = programData(h.dir)
	cmd.Env = append(append([]string{}, e.environment...),
		"PSENGINE_STANDINS="+e.standins, "KEYTURN_LAB_MODEL="+h.socket, "ProgramData="+programData(h.dir))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, errs
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode()
	case ctx.Err() != nil:
		return exitKilled
	default:
		_, _ = fmt.Fprintf(errs, "the lab could not run its PowerShell engine: %v\r\n", err)
		return exitNotStarted
	}
}

// serveModel lets stand-ins reach the model of a machine.
func (f *Fleet) serveModel(ctx context.Context, m *model.Machine, dir string, o Options) (string, error) {
	socket, err := f.socketPath(dir, "model.sock")
	if err != nil {
		return "", err
	}
	if err := removeSocket(socket); err != nil {
		return "", err
	}
	l, err := listenUnix(ctx, socket)
	if err != nil {
		return "", err
	}
	f.serving.Go(func() {
		if err := m.ServeListener(ctx, l); err != nil {
			o.Logger.ErrorContext(ctx, "serving the model ended", "machine", m.Name(), "error", err)
		}
	})
	return socket, nil
}
