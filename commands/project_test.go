package commands

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"keyturn/commands/exchange"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// drawProject draws a project that can be imported: titles are unique, machines
// have systems, services are of users that rotate.
func drawProject(r *rapid.T, name string) exchange.Project {
	p := exchange.Project{Name: name, Configuration: exchange.ProjectConfiguration{
		Environment: rapid.SampledFrom([]string{"local", "domain"}).Draw(r, "environment"), Off: rapid.Bool().Draw(r, "off"),
	}}
	word := rapid.StringMatching(`[ -~é\x{202e}\x01]{0,6}`)
	folder := rapid.SliceOfN(rapid.StringMatching(`[ -.0-~]{0,3}[a-z]`), 0, 2)
	add := func(kind string, i int, one exchange.ProjectRecord) {
		one.Record.Title = fmt.Sprintf("%s %d %s", kind, i, word.Draw(r, "title"))
		one.Record.Notes, one.Folder = word.Draw(r, "notes"), folder.Draw(r, "folder")
		one.Disabled = rapid.Bool().Draw(r, "disabled")
		p.Records = append(p.Records, one)
	}
	machines := rapid.IntRange(1, 3).Draw(r, "machines")
	for i := range machines {
		one := exchange.ProjectRecord{Resource: true, Parent: -1}
		one.Record.Type = pam.TypeMachine
		one.Record.Fields = []pam.Field{
			{Type: "pamHostname", Parts: map[string]string{"hostName": "h"}},
			{Type: "text", Label: "operatingSystem", Values: []string{"windows"}},
			{Type: "text", Label: "note", Values: rapid.SliceOfN(rapid.StringMatching(`[ -~]{1,4}`), 1, 3).Draw(r, "values")},
		}
		add("machine", i, one)
	}
	for i := range rapid.IntRange(0, 3).Draw(r, "users") {
		one := exchange.ProjectRecord{Parent: rapid.IntRange(-1, machines-1).Draw(r, "parent")}
		one.Record.Type = pam.TypeUser
		one.Record.Fields = []pam.Field{
			{Type: "login", Values: []string{`LAB\u`}}, {Type: "password", Secret: secret.New([]byte(rapid.StringMatching(`[!-~]{1,9}`).Draw(r, "password")))},
		}
		if one.Parent >= 0 {
			one.Rotation = &exchange.ProjectRotation{
				Enabled:    rapid.SampledFrom([]string{"on", "off", "default"}).Draw(r, "enabled"),
				Complexity: rapid.SampledFrom([]string{"", "24,2,2,2,2"}).Draw(r, "complexity"),
				Policy:     pam.Policy{MaxFailures: rapid.SampledFrom([]pam.Limit{"", "3", "5%"}).Draw(r, "failures")},
			}
		}
		add("user", i, one)
	}
	for i, one := range p.Records[machines:] {
		m := &p.Records[rapid.IntRange(0, machines-1).Draw(r, "on")]
		if one.Rotation != nil && rapid.Bool().Draw(r, "runs") {
			kinds := pam.MappingKinds(rapid.IntRange(1, int(pam.MapAll)).Draw(r, "kinds"))
			m.Services = append(m.Services, exchange.ProjectService{User: one.Record.Title, Kinds: kinds})
		}
		if i == 0 {
			m.Admin, p.Configuration.Admin = one.Record.Title, rapid.SampledFrom([]string{"", one.Record.Title}).Draw(r, "admin")
		}
	}
	return p
}

// What was exported is, imported into another vault and exported again, the same
// file to the last byte.
func TestAnExportedProjectComesBackWhole(t *testing.T) {
	t.Parallel()
	first, out1, err1 := withVault(t)
	second, out2, err2 := withVault(t)
	dir, n := t.TempDir(), 0
	run := func(r *rapid.T, d *Deps, out, stderr *bytes.Buffer, args ...string) string {
		out.Reset()
		stderr.Reset()
		if code := Run(t.Context(), d, append([]string{"pam", "project"}, args...)); code != 0 {
			r.Fatalf("%v: code %d: %s", args, code, stderr)
		}
		return out.String()
	}
	rapid.Check(t, func(r *rapid.T) {
		n++
		p := drawProject(r, fmt.Sprintf("Project %d", n))
		var b bytes.Buffer
		if err := exchange.WriteProject(&b, p, ""); err != nil {
			r.Fatal(err)
		}
		file := filepath.Join(dir, "project.json")
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			r.Fatal(err)
		}
		run(r, first, out1, err1, "import", "-f", file)
		once := run(r, first, out1, err1, "export", "-p", p.Name, "--force")
		if err := os.WriteFile(file, []byte(once), 0o600); err != nil {
			r.Fatal(err)
		}
		run(r, second, out2, err2, "import", "-f", file)
		if again := run(r, second, out2, err2, "export", "-p", p.Name, "--force"); again != once {
			r.Fatalf("exported:\n%s\nand again:\n%s", once, again)
		}
		if got, err := exchange.ReadProject([]byte(once)); err != nil || len(got.Records) != len(p.Records) {
			r.Fatalf("%d of %d records, %v", len(got.Records), len(p.Records), err)
		}
	})
}
