package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A workbench is what the benchmarks of whole processes run. They tell how many
// times as long a command takes as a program that does nothing, both run in turn:
// that says the same on a slow computer and on a busy one, which times do not.
type workbench struct {
	keyturn, hello, peak string
	dir                  string
	env                  []string
}

const benchPassword = "correct horse battery staple"

func newWorkbench(b *testing.B) workbench {
	b.Helper()
	dir, err := os.MkdirTemp("", "kt") //nolint:usetesting // the path of the agent's socket must be short
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := workbench{
		keyturn: filepath.Join(dir, "bin", "keyturn"), hello: filepath.Join(dir, "bin", "hello"), peak: filepath.Join(dir, "bin", "peak"),
		dir: dir,
		env: append(os.Environ(), "HOME="+dir, "XDG_RUNTIME_DIR="+dir, "XDG_STATE_HOME="+dir, "KEYTURN_PASSWORD_FILE="),
	}
	for out, source := range map[string]string{w.keyturn: ".", w.hello: "./testdata/bench/hello", w.peak: "./testdata/bench/peak"} {
		cmd := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=bench", "-o", out, source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("build %s: %v\n%s", source, err, text)
		}
	}
	if err := os.WriteFile(w.file("master"), []byte(benchPassword+"\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	return w
}

func (w workbench) file(name string) string { return filepath.Join(w.dir, name) }

// in is the workbench with another vault.
func (w workbench) in(home string) workbench {
	w.env = append(slices.Clip(w.env), "KEYTURN_HOME="+home)
	return w
}

// with is the workbench with one more variable of the environment.
func (w workbench) with(variable string) workbench {
	w.env = append(slices.Clip(w.env), variable)
	return w
}

// run returns what a command prints; stdin is its standard input.
func (w workbench) run(b *testing.B, stdin io.Reader, args ...string) string {
	b.Helper()
	var out, failure bytes.Buffer
	cmd := exec.CommandContext(b.Context(), args[0], args[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = w.env, w.dir, stdin, &out, &failure
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, failure.Bytes())
	}
	return strings.TrimSpace(out.String())
}

func (w workbench) time(b *testing.B, stdin string, args ...string) time.Duration {
	b.Helper()
	begun := time.Now()
	w.run(b, strings.NewReader(stdin), args...)
	return time.Since(begun)
}

// A series is how long a command took, again and again.
type series []time.Duration

func (s series) least() time.Duration  { return slices.Min(s) }
func (s series) median() time.Duration { return slices.Sorted(slices.Values(s))[len(s)/2] }

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// compare runs a command and hello in turn and reports the ratios of their least
// and median times, and the least time of the command.
func (w workbench) compare(b *testing.B, stdin string, args ...string) {
	b.Helper()
	var command, hello series
	for b.Loop() {
		for range 10 {
			hello = append(hello, w.time(b, "", w.hello))
			command = append(command, w.time(b, stdin, args...))
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(milliseconds(command.least()), "ms-least")
	b.ReportMetric(float64(command.least())/float64(hello.least()), "x-hello")
	b.ReportMetric(float64(command.median())/float64(hello.median()), "x-hello-median")
}

// BenchmarkProcess measures whole processes, from their start to their exit.
func BenchmarkProcess(b *testing.B) {
	w := newWorkbench(b)
	b.Run("version", func(b *testing.B) { w.compare(b, "", w.keyturn, "version") })
	b.Run("help", func(b *testing.B) { w.compare(b, "", w.keyturn, "--help") })
	for _, n := range []int{1000, 10_000, 100_000} {
		b.Run("records="+strconv.Itoa(n), func(b *testing.B) { w.vault(b, n) })
	}
	others(b, w)
}

// vault measures commands in a vault of n records.
func (w workbench) vault(b *testing.B, n int) {
	b.Helper()
	home := w.file("home" + strconv.Itoa(n))
	open := w.in(home).with("KEYTURN_PASSWORD_FILE=" + w.file("master"))
	w = w.in(home)
	open.run(b, nil, open.keyturn, "init")
	open.run(b, nil, open.keyturn, "import", "--format", "json", w.records(b, n))
	open.run(b, nil, open.keyturn, "login", "--timeout", "1h", "--password-file", w.file("master"))
	b.Cleanup(func() { _ = exec.Command(w.keyturn, "--vault", home, "logout").Run() })
	defer w.run(b, nil, w.keyturn, "logout")
	const title = "Record 000500"
	var record struct {
		UID string `json:"record_uid"`
	}
	if err := json.Unmarshal([]byte(w.run(b, nil, w.keyturn, "get", title, "--format", "json")), &record); err != nil {
		b.Fatal(err)
	}
	b.Run("get-uid", func(b *testing.B) { w.compare(b, "", w.keyturn, "get", record.UID) })
	b.Run("get-title", func(b *testing.B) { w.compare(b, "", w.keyturn, "get", title) })
	b.Run("search", func(b *testing.B) { w.compare(b, "", w.keyturn, "search", "cord 000500") })
	b.Run("record-add", func(b *testing.B) { w.compare(b, "", w.keyturn, "record-add", "-rt", "login", "-t", "New", "login=me") })
	b.Run("ls", func(b *testing.B) { w.compare(b, "", w.keyturn, "ls", "-l", "-R") })
	b.Run("get-without-agent", func(b *testing.B) {
		open.compare(b, "", w.keyturn, "get", record.UID, "--password-file", w.file("master"))
	})
	for name, args := range map[string][]string{
		"get-title": {"get", title}, "search": {"search", "cord 000500"}, "ls": {"ls", "-l", "-R"},
	} {
		b.Run("memory/"+name, func(b *testing.B) { w.memory(b, args...) })
	}
}

// records writes a file of n records to import.
func (w workbench) records(b *testing.B, n int) string {
	b.Helper()
	records := make([]map[string]any, n)
	for i := range records {
		records[i] = map[string]any{
			"title": fmt.Sprintf("Record %06d", i), "$type": "login", "login": fmt.Sprintf("user%d", i), "password": fmt.Sprintf("pw-%d", i),
			"folders": []map[string]string{{"folder": fmt.Sprintf("Team %d", i%50)}},
		}
	}
	text, err := json.Marshal(map[string]any{"records": records})
	if err != nil {
		b.Fatal(err)
	}
	name := w.file("records.json")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		b.Fatal(err)
	}
	return name
}

// memory reports the most memory that a command of keyturn holds.
func (w workbench) memory(b *testing.B, args ...string) {
	b.Helper()
	most := 0.0
	for b.Loop() {
		kib, err := strconv.ParseFloat(w.run(b, nil, append([]string{w.peak, w.keyturn}, args...)...), 64)
		if err != nil {
			b.Fatal(err)
		}
		most = max(most, kib/1024)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(most, "MiB")
}

// others measures what other programs take to show one secret of a small store,
// each with its own key derivation.
func others(b *testing.B, w workbench) {
	b.Helper()
	b.Run("other=keepassxc-cli", func(b *testing.B) {
		program := installed(b, "keepassxc-cli")
		store := w.file("store.kdbx")
		w.run(b, strings.NewReader(benchPassword+"\n"+benchPassword+"\n"), program, "db-create", "-q", "-p", store)
		w.run(b, strings.NewReader(benchPassword+"\n"), program, "add", "-q", "-g", store, "Record")
		w.compare(b, benchPassword+"\n", program, "show", "-q", "-s", store, "Record")
	})
	b.Run("other=pass", func(b *testing.B) { w.passLike(b, installed(b, "pass")) })
	b.Run("other=gopass", func(b *testing.B) { w.passLike(b, installed(b, "gopass")) })
}

// passLike measures a program with the words of pass; its key has no passphrase.
func (w workbench) passLike(b *testing.B, program string) {
	b.Helper()
	gpg := installed(b, "gpg")
	w = w.with("GNUPGHOME=" + w.dir).with("PASSWORD_STORE_DIR=" + w.file(filepath.Base(program)))
	w.run(b, nil, gpg, "--batch", "--yes", "--quiet", "--passphrase", "", "--quick-generate-key", "bench@keyturn.example")
	w.run(b, nil, program, "init", "bench@keyturn.example")
	w.run(b, strings.NewReader("secret\n"), program, "insert", "-m", "Record")
	w.compare(b, "", program, "show", "Record")
}

// installed finds a program that is measured beside keyturn where it is.
func installed(b *testing.B, name string) string {
	b.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		b.Skip(name + " is not installed")
	}
	return path
}
