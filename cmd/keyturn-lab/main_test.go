package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"keyturn/pkg/lab"
)

// asProgram makes the test binary the program itself.
const asProgram = "KEYTURN_LAB_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

func program(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], args...)
	c.Dir = dir
	c.Env = append(os.Environ(), asProgram+"=1", "KEYTURN_PWSH=")
	return c
}

// awaitLab waits until the lab of a folder answers.
func awaitLab(t *testing.T, dir string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 1500 {
		if _, err := lab.AskView(t.Context(), dir); err == nil {
			return
		}
		<-tick.C
	}
	t.Fatal("the lab does not answer")
}

func TestALabStartsShowsItselfBreaksAndStops(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no interrupt signal on windows")
	}
	dir := t.TempDir()
	start := program(t, dir, "start", "--machines", "1", "--state", "lab")
	var announced bytes.Buffer
	start.Stdout, start.Stderr = &announced, os.Stderr
	if err := start.Start(); err != nil {
		t.Fatal(err)
	}
	awaitLab(t, filepath.Join(dir, "lab"))

	rows := []struct {
		name   string
		args   string
		code   int
		stdout string
		stderr string
	}{
		{"show is a table", "show --state lab", 0, `(?m)^MACHINE +KIND +NAME +RUNS AS +STATE +RESTARTS +STORED PASSWORD$`, `^$`},
		{"which tells whether the stored password works", "show --state lab", 0, `SRV1 +service +OrdersApi +LAB\\svc_app +Running +0 +logs on`, `^$`},
		{"show is JSON for programs", "show --state lab --format json", 0, `"name": "DC01"`, `^$`},
		{"one lab a folder", "start --machines 1 --state lab", 1, `^$`, `a lab is running in .* already; nothing was changed`},
		{"a machine goes down", "fault --state lab --machine SRV1 down", 0, `^$`, `^$`},
		{"and comes up", "fault --state lab --machine srv1 up", 0, `^$`, `^$`},
		{"an unknown machine", "fault --state lab --machine SRV9 down", 1, `^$`, `there is no machine "SRV9" in this lab; nothing was changed`},
		{"an unknown fault", "fault --state lab --machine SRV1 explode", 1, `^$`, `there is no fault "explode"`},
		{"no machine named", "fault --state lab down", 1, `^$`, `machine`},
		{"a folder without a lab", "show --state nowhere", 1, `^$`, `nowhere`},
		{"the help tells of the simulation", "--help", 0, `simulation`, `^$`},
	}
	for _, r := range rows {
		check(t, dir, r.name, r.args, r.code, r.stdout, r.stderr)
	}

	if err := start.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := start.Wait(); err != nil {
		t.Errorf("the lab ended with %v", err)
	}
	if !regexp.MustCompile(`(?s)simulation.*\nSRV1 +127\.0\.0\.1:\d+ +sha256:[0-9a-f]{64}\nready\n$`).MatchString(announced.String()) {
		t.Errorf("announced %q", announced.String())
	}
	if _, err := os.Stat(filepath.Join(dir, "lab", "control.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stayed: %v", err)
	}
	check(t, dir, "a lab that has stopped", "show --state lab", 1, `^$`, `no lab is running in lab \(start one with: keyturn-lab start\)`)
}

func check(t *testing.T, dir, name, args string, code int, stdout, stderr string) {
	t.Helper()
	c := program(t, dir, strings.Fields(args)...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	_ = c.Run()
	if c.ProcessState.ExitCode() != code || !regexp.MustCompile(stdout).Match(out.Bytes()) || !regexp.MustCompile(stderr).Match(errs.Bytes()) {
		t.Errorf("%s: keyturn-lab %s: exit %d\n%s%s", name, args, c.ProcessState.ExitCode(), out.Bytes(), errs.Bytes())
	}
}
