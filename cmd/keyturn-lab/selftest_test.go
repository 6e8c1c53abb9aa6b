package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"keyturn/pkg/lab"
	"keyturn/pkg/lab/selftest"
)

// The selftest as a person types it, against a practice machine that answers in
// Go: what is said, the exit, and both reports.
func TestSelftestOfAPracticeMachine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := lab.Start(t.Context(), lab.Options{Machines: 1, Dir: filepath.Join(dir, "lab"), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	d, err := f.Describe()
	if err != nil {
		t.Fatal(err)
	}
	m := d.Machines[1]
	password, out := filepath.Join(dir, "lab", lab.AdminPasswordFile), filepath.Join(dir, "report")
	base := []string{"selftest", "--host", m.Host, "--port", strconv.Itoa(m.Port), "--login", d.Admin, "--out", out}
	rows := []struct {
		name   string
		args   []string
		stdin  string
		stdout string
		err    string // a pattern; "" succeeds
	}{
		{"it asks and reports", []string{"--pin", m.Pin, "--password-file", password}, "", `^\d+ as expected, 0 differ, .*report\.md\n$`, ""},
		{"the password from standard input", []string{"--pin", m.Pin, "--password-file", "-"}, string(f.Model.Admin.Reveal()) + "\n", `0 differ`, ""},
		{"a certificate that nobody vouches for is shown", []string{"--password-file", password}, "", `^$`, `nothing was sent.*--pin '` + m.Pin + `'`},
		{"no password", []string{"--pin", m.Pin}, "", `^$`, `--password-file`},
		{"a wrong password", []string{"--pin", m.Pin, "--password-file", "-"}, "wrong\n", `^$`, `refused`},
		{"another transport", []string{"--transport", "telnet", "--password-file", password}, "", `^$`, `known: winrm, ssh, both`},
		{"making and only removing", []string{"--create", "--cleanup", "--password-file", password}, "", `^$`, `create cleanup`},
		{"a pin and a CA", []string{"--pin", m.Pin, "--ca", "x", "--password-file", password}, "", `^$`, `pin`},
	}
	for _, r := range rows {
		var stdout, stderr bytes.Buffer
		root := newRoot()
		root.SetArgs(append(append([]string{}, base...), r.args...))
		root.SetIn(strings.NewReader(r.stdin))
		root.SetOut(&stdout)
		root.SetErr(&stderr)
		err := root.ExecuteContext(t.Context())
		text := ""
		if err != nil {
			text = err.Error()
		}
		if (err == nil) != (r.err == "") || !regexp.MustCompile(r.err).MatchString(text) || !regexp.MustCompile(r.stdout).Match(stdout.Bytes()) {
			t.Errorf("%s: %v\n%s%s", r.name, err, stdout.Bytes(), stderr.Bytes())
		}
	}
	reports(t, out, string(f.Model.Admin.Reveal()))
}

// reports checks the two files of the last run that succeeded.
func reports(t *testing.T, out, password string) {
	t.Helper()
	md, err := os.ReadFile(out + ".md")
	if err != nil || !bytes.Contains(md, []byte("practice machine, not Windows")) || bytes.Contains(md, []byte(password)) {
		t.Errorf("%v\n%s", err, md)
	}
	js, err := os.ReadFile(out + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var rep selftest.Report
	if err := json.Unmarshal(js, &rep); err != nil || !rep.Practice || rep.Created || len(rep.Checks) < 40 || bytes.Contains(js, []byte(password)) {
		t.Errorf("%v\n%s", err, js)
	}
}
