package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// noSleep makes a program with the race detector end when it ends: by itself it
// sleeps for a second first, which was most of the time of these tests.
const noSleep = "GORACE=atexit_sleep_ms=0"

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		programName: func() { os.Exit(run(os.Args[1:])) },
		pluginName:  runPlugin,
	})
}

// scripts are the user stories, one file each.
const scripts = "../../testdata/script"

func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 scripts,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setup,
		Cmds:                scriptCommands(),
	})
}

// setup gives every script a home of its own and a master password.
func setup(e *testscript.Env) error {
	e.Setenv("HOME", e.WorkDir)
	name, value, _ := strings.Cut(noSleep, "=")
	e.Setenv(name, value)
	e.Setenv("KEYTURN_HOME", filepath.Join(e.WorkDir, "home"))
	e.Setenv("KEYTURN_PASSWORD_FILE", filepath.Join(e.WorkDir, "master"))
	e.Setenv("MASTER", "correct horse battery staple")
	return os.WriteFile(filepath.Join(e.WorkDir, "master"), []byte("correct horse battery staple\n"), 0o600)
}

// scriptCommands are the words of our scripts beside testscript's own.
func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	words := map[string]func(*testscript.TestScript, bool, []string){}
	for name, run := range map[string]func(*testscript.TestScript, []string){
		"code": cmdCode, "capture": cmdCapture, "masked": cmdMasked, "newhome": cmdNewHome, "state": cmdState, "deaf": cmdDeaf, "tofile": cmdToFile,
		"spoil": cmdSpoil,
	} {
		words[name] = word(name, run)
	}
	return words
}

// word makes a word of our scripts, which says what happens and is not negated.
func word(name string, run func(*testscript.TestScript, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("%s cannot be negated", name)
		}
		run(ts, args)
	}
}

// cmdCode runs a program and checks its exit code: code N PROGRAM ARG..., or
// code N,M where a busy machine decides which of the two comes first.
func cmdCode(ts *testscript.TestScript, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM ARG...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if !slices.Contains(strings.Split(args[0], ","), got) {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// cmdCapture sets a variable to what a pattern's group matches in the last
// standard output: capture NAME PATTERN, or capture NAME for all of it.
func cmdCapture(ts *testscript.TestScript, args []string) {
	if len(args) == 0 || len(args) > 2 {
		ts.Fatalf("usage: capture NAME [PATTERN]")
	}
	text := ts.ReadFile("stdout")
	if len(args) == 1 {
		ts.Setenv(args[0], strings.TrimSpace(text))
		return
	}
	m := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(text)
	if len(m) < 2 {
		ts.Fatalf("nothing matches %s in:\n%s", args[1], text)
	}
	ts.Setenv(args[0], m[1])
}

var (
	uid      = regexp.MustCompile(`[A-Za-z0-9][A-Za-z0-9_-]{21}`)
	moment   = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	rowCount = regexp.MustCompile(`"rows": \d+`)
)

// cmdToFile writes a variable to a file: tofile NAME FILE.
func cmdToFile(ts *testscript.TestScript, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: tofile NAME FILE")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(ts.Getenv(args[0])), 0o600))
}

// cmdSpoil overwrites what stands behind each place of a text in a file: spoil FILE TEXT.
func cmdSpoil(ts *testscript.TestScript, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: spoil FILE TEXT")
	}
	path, text := ts.MkAbs(args[0]), []byte(args[1])
	b, err := os.ReadFile(path)
	ts.Check(err)
	spoiled := 0
	for at := bytes.Index(b, text); at >= 0; {
		behind := b[at+len(text):]
		for i := 8; i < min(48, len(behind)); i++ {
			behind[i] ^= 0xa5
		}
		spoiled++
		next := bytes.Index(behind, text)
		if next < 0 {
			break
		}
		at += len(text) + next
	}
	if spoiled == 0 {
		ts.Fatalf("%s does not hold %s", path, text)
	}
	ts.Check(os.WriteFile(path, b, 0o600))
}

// cmdMasked compares standard output with a file in which every UID is a word of
// 22 x, so that tables keep their shape, and every time is the same: masked FILE.
func cmdMasked(ts *testscript.TestScript, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: masked FILE")
	}
	got := uid.ReplaceAllString(ts.ReadFile("stdout"), strings.Repeat("x", 22))
	got = moment.ReplaceAllString(got, "2006-01-02T15:04:05Z")
	// By chance of the vault's key, titles share a shelf of the catalogue or do not.
	got = rowCount.ReplaceAllString(got, `"rows": 50`)
	want := ts.ReadFile(args[0])
	if got != want {
		ts.Fatalf("stdout is:\n%s\nwant:\n%s", got, want)
	}
}

// cmdNewHome makes a vault, fast: newhome. Its commands fill it like the first
// hour's demo: two machines, an admin, a service account with rotation settings.
func cmdNewHome(ts *testscript.TestScript, args []string) {
	if len(args) != 0 {
		ts.Fatalf("usage: newhome")
	}
	ts.Check(os.WriteFile(ts.MkAbs("svc.password"), []byte("old-Passw0rd\n"), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("newhome.batch"), []byte(newHome), 0o600))
	ts.Check(ts.Exec(programName, "run-batch", "newhome.batch"))
}

// newHome fills a vault in one process: deriving the key again for every
// command would be most of a script's time.
const newHome = `init --kdf-memory 19456
record-add -rt pamMachine -t DC01 pamHostname=127.0.0.1:5986 text.operatingSystem=windows
record-add -rt pamMachine -t SRV1 pamHostname=127.0.0.2:5986 text.operatingSystem=Windows
record-add -rt pamMachine -t LIN1 pamHostname=127.0.0.3 text.operatingSystem=linux
record-add -rt pamUser -t admin login=LAB\admin password=@svc.password
record-add -rt pamUser -t svc_app login=LAB\svc_app password=@svc.password
record-add -rt pamUser -t plain login=LAB\plain password=@svc.password
pam config edit "Local Network" -a admin
pam rotation edit -r svc_app -rs DC01 -od --enable --force
`

// cmdDeaf works with a machine that takes connections and never says a word, so
// that a job stays in its look: deaf start VAR sets VAR to its address, deaf
// wait returns when somebody has connected.
func cmdDeaf(ts *testscript.TestScript, args []string) {
	switch {
	case len(args) == 2 && args[0] == "start":
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		ts.Check(err)
		called := make(chan struct{})
		ts.Defer(func() { _ = l.Close() })
		go func() {
			for once := sync.OnceFunc(func() { close(called) }); ; once() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer func() { _ = c.Close() }()
			}
		}()
		deaf.Store(ts.Getenv("WORK"), called)
		ts.Setenv(args[1], l.Addr().String())
	case len(args) == 1 && args[0] == "wait":
		called, _ := deaf.Load(ts.Getenv("WORK"))
		select {
		case <-called.(chan struct{}):
		case <-time.After(time.Minute):
			ts.Fatalf("nobody connected")
		}
	default:
		ts.Fatalf("usage: deaf start VAR | deaf wait")
	}
}

// deaf has the channel of each script's machine by the script's folder.
var deaf sync.Map

// cmdState prints name, mode and digest of every file below a folder, so that a
// script can see that nothing was written: state FOLDER FILE writes them to FILE.
func cmdState(ts *testscript.TestScript, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: state FOLDER FILE")
	}
	var b strings.Builder
	root := ts.MkAbs(args[0])
	ts.Check(filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := e.Info()
		fmt.Fprintf(&b, "%s %s %x\n", strings.TrimPrefix(path, root), info.Mode(), sha256.Sum256(data))
		return err
	}))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(b.String()), 0o600))
}
