// Package linttest is test support: the gates that every PowerShell script of
// this repository passes before it is sent to a machine. It runs the lint of a
// real engine (syntax, floor, .NET Framework, C# of Add-Type), keeps what that
// said in a file beside the SHA-256 of the scripts, and holds rules of our own
// against it: which commands there are on a server, and that no secret is bound
// to a parameter, which Windows writes into event 4103 and transcripts.
//
// It knows nothing of what the scripts do. All rules return what is wrong as
// sentences, so that a test can plant an error and see it found.
package linttest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// EnvEngine names the PowerShell engine that lints.
const EnvEngine = "KEYTURN_PWSH"

// A Fact is one command in a script, as the lint of the engine sees it.
type Fact struct {
	File       string   `json:"file"`
	Line       int      `json:"line"`
	Name       string   `json:"name"`
	Ours       bool     `json:"ours"`    // a function of the script
	Dynamic    bool     `json:"dynamic"` // its name is computed
	Parameters []string `json:"parameters"`
	Splat      bool     `json:"splat"`
	Variables  []string `json:"variables"`
	Function   string   `json:"function"` // it is called in
}

// at is where a fact is, for a sentence.
func (f Fact) at() string { return fmt.Sprintf("%s:%d", f.File, f.Line) }

// A Record is what the lint said of scripts, and of which: name to SHA-256.
type Record struct {
	Scripts  map[string]string `json:"scripts"`
	Commands []Fact            `json:"commands"`
}

// ReadRecord reads a record from a file.
func ReadRecord(path string) (Record, error) {
	b, err := os.ReadFile(path) //nolint:gosec // a test's own file
	if err != nil {
		return Record{}, fmt.Errorf("read the recorded lint: %w", err)
	}
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return Record{}, fmt.Errorf("read the recorded lint %s: %w", path, err)
	}
	return r, nil
}

// Write writes r to a file.
func (r Record) Write(path string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("encode the lint: %w", err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o600); err != nil { //nolint:gosec // a test's own file
		return fmt.Errorf("record the lint: %w", err)
	}
	return nil
}

// Stale says which scripts are not those that r is about.
func (r Record) Stale(scripts map[string][]byte) []string {
	var bad []string
	for _, name := range slices.Sorted(maps.Keys(scripts)) {
		if got := digest(scripts[name]); r.Scripts[name] != got {
			bad = append(bad, fmt.Sprintf("%s changed since it was linted (%s, recorded %q)", name, got, r.Scripts[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Scripts)) {
		if _, ok := scripts[name]; !ok {
			bad = append(bad, name+" was linted and is gone")
		}
	}
	return bad
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Run lints scripts, by name, in engine and returns what it saw and what is
// wrong. dir is an empty folder to work in. beside is a script that they are
// joined with when they are sent: its types are known, and nothing of it is
// reported.
func Run(ctx context.Context, engine, dir string, scripts map[string][]byte, beside []byte) (Record, []string, error) {
	r := Record{Scripts: map[string]string{}, Commands: []Fact{}}
	args := []string{"--lint", "--floor", "5.1"}
	for _, name := range slices.Sorted(maps.Keys(scripts)) {
		path := filepath.Join(dir, name)
		text := slices.Concat(scripts[name], []byte("\n"), beside)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return r, nil, fmt.Errorf("write a script to lint: %w", err)
		}
		r.Scripts[name] = digest(scripts[name])
		args = append(args, path)
	}
	out, err := exec.CommandContext(ctx, engine, args...).Output() //nolint:gosec // the engine that the developer names
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		return r, nil, fmt.Errorf("run the lint: %w", err)
	}
	problems, err := r.read(out, scripts)
	return r, problems, err
}

// read takes the lint's lines of scripts: facts into r, problems out.
func (r *Record) read(out []byte, scripts map[string][]byte) ([]string, error) {
	var problems []string
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		var l struct {
			T, Rule, Message string
			Fact
		}
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("the lint said %q: %w", lines.Text(), err)
		}
		if s, ok := scripts[l.File]; ok && l.Line > bytes.Count(s, []byte("\n"))+1 {
			continue
		}
		if l.T == "problem" {
			problems = append(problems, fmt.Sprintf("%s: %s: %s", l.at(), l.Rule, l.Message))
			continue
		}
		r.Commands = append(r.Commands, l.Fact)
	}
	if len(r.Commands)+len(problems) == 0 {
		return nil, errors.New("the lint said nothing")
	}
	return problems, nil
}
