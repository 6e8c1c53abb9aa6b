package selftest

import (
	"bytes"
	"embed"
	"fmt"

	"keyturn/pkg/powershell"
)

//go:embed scripts/*.ps1
var scripts embed.FS

// ops of the selftest's own script.
const (
	opFacts    powershell.Op = "selftest_facts"
	opEvents   powershell.Op = "selftest_events"
	opSetup    powershell.Op = "selftest_setup"
	opLogons   powershell.Op = "selftest_logons"
	opServices powershell.Op = "selftest_services"
	opTasks    powershell.Op = "selftest_tasks"
	opPools    powershell.Op = "selftest_pools"
	opCut      powershell.Op = "selftest_cut"
	opMark     powershell.Op = "selftest_mark"
	opLockout  powershell.Op = "selftest_lockout"
	opCleanup  powershell.Op = "selftest_cleanup"
)

// Script is the main script of the selftest: the functions of the shipped one,
// and its own. It travels in the same frame, behind the same command line.
func Script() ([]byte, error) {
	own, err := Own()
	if err != nil {
		return nil, err
	}
	return append(powershell.Library(), own...), nil
}

// Own is the part of the script that is not shipped.
func Own() ([]byte, error) {
	var b bytes.Buffer
	for _, name := range []string{"native", "facts", "objects", "tasks", "pools", "main"} {
		part, err := scripts.ReadFile("scripts/" + name + ".ps1")
		if err != nil {
			return nil, fmt.Errorf("read the selftest's script: %w", err)
		}
		b.Write(bytes.ReplaceAll(part, []byte("\r\n"), []byte("\n")))
		b.WriteByte('\n')
	}
	return b.Bytes(), nil
}
