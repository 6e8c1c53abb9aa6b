package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"keyturn/pkg/needtest"
)

const module = "keyturn/"

// floors lists every package of ours from the ground up. A package imports only
// from floors below its own; the packages of the practice fleet may import one
// another. A new package chooses its floor here.
var floors = [][]string{
	{"pkg/secret", "pkg/needtest"},
	{"pkg/pam", "pkg/kdbx"},
	{"pkg/password", "pkg/schedule", "pkg/remote", "vault/seal", "vault/agekey", "vault/carve", "vault/keyring", "commands/output", "commands/exchange", "pkg/powershell/linttest"},
	{"vault", "vault/agent", "pkg/powershell", "pkg/remote/winrm", "pkg/remote/ssh", "pkg/remote/remotetest", "pkg/remote/sshtest", "pkg/directory"},
	{"pkg/rotator", "pkg/dependency"},
	{"pkg/executor", "pkg/lab", "pkg/lab/ldapd", "pkg/lab/model", "pkg/lab/samba", "pkg/lab/script", "pkg/lab/sshd", "pkg/lab/standins", "pkg/lab/winrmd"},
	{"pkg/job", "pkg/discover", "pkg/lab/selftest"},
	{"commands"},
	{"commands/shell"},
	{"cmd/keyturn", "cmd/keyturn-lab"},
}

// homes names outside libraries and the packages of ours that may import them:
// one each in the product, so that a library can be replaced in one place. The
// practice fleet and test support may import what they serve.
var homes = map[string][]string{
	"github.com/spf13/cobra":            {"commands", "commands/shell", "cmd/keyturn-lab"},
	"github.com/spf13/pflag":            {"commands"},
	"github.com/olekukonko/tablewriter": {"commands/output"},
	"github.com/olekukonko/ll":          {"commands/output"},
	"github.com/schollz/progressbar":    {"commands/output"},
	"github.com/pquerna/otp":            {"commands"},
	"github.com/c-bata/go-prompt":       {"commands/shell"},
	"github.com/mattn/go-isatty":        {"cmd/keyturn"},
	"github.com/masterzen/winrm":        {"pkg/remote/winrm"},
	"github.com/Azure/go-ntlmssp":       {"pkg/remote/winrm"},
	"github.com/go-ldap/ldap/v3":        {"pkg/directory"},
	"github.com/tobischo/gokeepasslib":  {"pkg/kdbx"},
	"github.com/tobischo/argon2":        {"pkg/kdbx"},
	"golang.org/x/crypto/ssh":           {"pkg/remote/ssh", "pkg/remote/sshtest", "vault/agekey"}, // the last for age's SSH keys
	"filippo.io/age":                    {"vault/agekey"},
	"github.com/zalando/go-keyring":     {"vault/keyring"},
	"github.com/Microsoft/go-winio":     {"vault/agent"},
	"golang.org/x/crypto/argon2":        {"vault/seal"},
	"modernc.org/sqlite":                {"vault"},
}

// A listed is the part of "go list -json" that is read here.
type listed struct {
	ImportPath, Dir string
	Imports         []string
	GoFiles         []string
}

func (l listed) name() string { return strings.TrimPrefix(l.ImportPath, module) }

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Imports,GoFiles", module+"...")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		needtest.Missing(t, "the go command is needed: "+err.Error())
	}
	var all []listed
	for dec := json.NewDecoder(out); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestImportsGoDownward(t *testing.T) {
	t.Parallel()
	floor := map[string]int{}
	for i, names := range floors {
		for _, n := range names {
			floor[n] = i
		}
	}
	for _, p := range packages(t) {
		at, ok := floor[p.name()]
		if !ok {
			t.Errorf("%s has no floor: add it to floors", p.name())
			continue
		}
		for _, imp := range p.Imports {
			in, ours := strings.CutPrefix(imp, module)
			if ours && floor[in] >= at && (!isLab(in) || !isLab(p.name())) {
				t.Errorf("%s (floor %d) imports %s (floor %d)", p.name(), at, in, floor[in])
			}
			if ours && isLab(in) && !isLab(p.name()) && p.name() != "cmd/keyturn-lab" {
				t.Errorf("%s imports %s: the product carries no simulator", p.name(), in)
			}
		}
	}
}

func isLab(name string) bool { return name == "pkg/lab" || strings.HasPrefix(name, "pkg/lab/") }

func TestEachLibraryHasOneHome(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			for library, allowed := range homes {
				if imp != library && !strings.HasPrefix(imp, library+"/") {
					continue
				}
				if !slices.Contains(allowed, p.name()) && !isLab(p.name()) {
					t.Errorf("%s imports %s, which belongs to %s", p.name(), imp, strings.Join(allowed, ", "))
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		var docs []string
		for _, file := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil {
				docs = append(docs, file)
			}
			if !strings.HasPrefix(p.name(), "cmd/") && !strings.HasSuffix(p.name(), "test") {
				stayOutOfTheProcess(t, p.name()+"/"+file, f)
			}
		}
		if len(docs) != 1 {
			t.Errorf("%s: want one package comment, found %v", p.name(), docs)
		}
	}
}

// stayOutOfTheProcess reports uses of what only main may touch.
func stayOutOfTheProcess(t *testing.T, where string, f *ast.File) {
	t.Helper()
	forbidden := []string{"os.Exit", "os.Stdin", "os.Stdout", "os.Stderr", "os.Args", "os.Getenv", "os.LookupEnv", "time.Now"}
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && slices.Contains(forbidden, x.Name+"."+sel.Sel.Name) {
			t.Errorf("%s uses %s.%s; only cmd may", where, x.Name, sel.Sel.Name)
		}
		return true
	})
}
