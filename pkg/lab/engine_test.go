package lab

import (
	"os"
	"strings"
	"testing"

	"keyturn/pkg/powershell"
)

// engine returns the PowerShell engine of this machine, or skips.
func engine(t *testing.T) string {
	t.Helper()
	path := os.Getenv("KEYTURN_PWSH")
	if path == "" {
		t.Skip("KEYTURN_PWSH names no PowerShell engine")
	}
	return path
}

func withEngine(t *testing.T) func(*Options) {
	t.Helper()
	path := engine(t)
	return func(o *Options) {
		o.Engine = path
		for _, name := range []string{"PATH", "HOME", "PSENGINE_CACHE"} {
			if v, ok := os.LookupEnv(name); ok {
				o.Environment = append(o.Environment, name+"="+v)
			}
		}
	}
}

// What the script does is pkg/powershell's and pkg/lab/standins' to test; here
// the way there and back counts.
func TestTheEngineRunsTheConstantCommandLine(t *testing.T) {
	t.Parallel()
	f := fleetFor(t, withEngine(t))
	got, err := run(t, f, "SRV1", powershell.CommandLine(), []byte("half a header"))
	if err != nil {
		t.Fatal(err)
	}
	if got.ExitCode != powershell.ByeTransport || !strings.Contains(string(got.Stdout), "transport_truncated") {
		t.Errorf("exit %d: %q %q", got.ExitCode, got.Stdout, got.Stderr)
	}
}
