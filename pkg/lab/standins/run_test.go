package standins_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"keyturn/pkg/lab/standins"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// A host runs the shipped command line in a PowerShell engine with stand-ins.
type host struct {
	engine, socket, folder, data string
	language                     string
	seen                         bytes.Buffer // standard output of all runs
}

func newHost(t *testing.T, f *fake) *host {
	t.Helper()
	engine := os.Getenv("KEYTURN_PWSH")
	if engine == "" {
		t.Skip("KEYTURN_PWSH names no PowerShell engine that takes stand-ins")
	}
	h := &host{engine: engine, socket: f.serve(t), folder: t.TempDir(), data: t.TempDir(), language: "full"}
	if err := standins.WriteTo(h.folder); err != nil {
		t.Fatal(err)
	}
	return h
}

// Run runs the script as a transport would.
func (h *host) Run(ctx context.Context, s remote.Script, parts ...secret.Value) (remote.Result, error) {
	in := secret.Join(parts...)
	args := strings.Fields(s.Line)
	cmd := exec.CommandContext(ctx, h.engine, args[1:]...)
	cmd.Env = append(os.Environ(), standins.EnvFolder+"="+h.folder, standins.EnvModel+"="+h.socket, "ProgramData="+h.data,
		"PSENGINE_LANGUAGE="+h.language)
	cmd.Stdin = bytes.NewReader(in.Reveal())
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		err = nil
	}
	h.seen.Write(stdout.Bytes())
	h.seen.Write(stderr.Bytes())
	s.OnOutput(stdout.Bytes())
	return remote.Result{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), ExitCode: cmd.ProcessState.ExitCode()}, err
}

// Close does nothing.
func (*host) Close() error { return nil }

func (h *host) call(t *testing.T, req powershell.Request, secrets ...string) (powershell.Answer, error) {
	t.Helper()
	var values []secret.Value
	for _, s := range secrets {
		values = append(values, secret.New([]byte(s)))
	}
	req.Run = "run1"
	a, err := powershell.Call(t.Context(), h, rand.Reader, req, values, nil)
	if err != nil {
		t.Logf("noise: %s", a.Noise)
	}
	return a, err
}

func (h *host) must(t *testing.T, req powershell.Request, secrets ...string) powershell.Answer {
	t.Helper()
	a, err := h.call(t, req, secrets...)
	if err != nil {
		t.Fatalf("%s: %v", req.Op, err)
	}
	return a
}

func target() *powershell.Account {
	return &powershell.Account{
		SIDs: []string{userSID}, Names: []string{`CORP\svc_app`, "svc_app@corp.example.com"}, Sam: "svc_app",
		LogonUser: "svc_app", LogonDomain: "CORP", TaskUser: `CORP\svc_app`,
	}
}

func find(a powershell.Answer, phase, id string) powershell.Line {
	for _, l := range a.Items {
		if l.Phase == phase && l.ID == id {
			return l
		}
	}
	return powershell.Line{}
}
