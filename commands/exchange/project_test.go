package exchange_test

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"keyturn/commands/exchange"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

func writeProject(p exchange.Project) (string, error) {
	var b bytes.Buffer
	err := exchange.WriteProject(&b, p, "1.2.3")
	return b.String(), err
}

// A shownProject is a project with its secrets in the open. Fields have no order:
// the file's keys are sorted.
type shownProject struct {
	Name          string
	Configuration exchange.ProjectConfiguration
	Records       []shownMember
}

type shownMember struct {
	Record shown

	Resource, Disabled bool
	Parent             string
	Admin              string
	Rotation           *exchange.ProjectRotation
	Services           []exchange.ProjectService
}

func showProject(p exchange.Project) shownProject {
	out := shownProject{Name: p.Name, Configuration: p.Configuration}
	entries := show(p.File().Entries)
	for i, r := range p.Records {
		m := shownMember{entries[i], r.Resource, r.Disabled, "", r.Admin, r.Rotation, r.Services}
		if r.Parent >= 0 {
			m.Parent = p.Records[r.Parent].Record.Title
		}
		slices.SortStableFunc(m.Record.Fields, func(a, b shownField) int { return cmp.Compare(a.Name, b.Name) })
		out.Records = append(out.Records, m)
	}
	slices.SortFunc(out.Records, func(a, b shownMember) int { return cmp.Compare(a.Record.Title, b.Record.Title) })
	return out
}

// drawRecord draws a record of a project.
func drawRecord(r *rapid.T, i int, typ pam.RecordType) exchange.ProjectRecord {
	word := rapid.StringMatching(`[=+'"\\a-z<&{,;é][ -~é\n]{0,8}`)
	one := exchange.ProjectRecord{Parent: -1, Disabled: rapid.Bool().Draw(r, "disabled")}
	one.Record.Title, one.Record.Type = fmt.Sprintf("%02d %s", i, word.Draw(r, "title")), typ
	one.Record.Notes = rapid.StringMatching(`[ -~é\n]{0,8}`).Draw(r, "notes")
	one.Record.UID = pam.UID(rapid.StringMatching(`([A-Za-z0-9][A-Za-z0-9_-]{21})?`).Draw(r, "uid"))
	one.Folder = rapid.SliceOfN(rapid.StringMatching(`[ -.0-~é]{1,4}`), 0, 2).Draw(r, "folder")
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{
		"$login", "$password", "$text:operatingSystem", "$checkbox:managed", "$checkbox:useSSL", "$multiline:alternativeIPs", "$pamHostname",
		"$secret:privatePEMKey", "$text:transport", "$text:host", "$secret:x", "$oneTimeCode", "$url", "$directoryType", "$pinCode", "$pamHostname:b",
	}), 0, 8, rapid.ID).Draw(r, "fields") {
		typ, label, _ := strings.Cut(name[1:], ":")
		f := pam.Field{Type: typ, Label: label}
		switch typ {
		case "password", "secret", "oneTimeCode", "pinCode":
			f.Secret = secret.New([]byte(word.Draw(r, "secret")))
		case "pamHostname":
			f.Parts = rapid.MapOfN(rapid.SampledFrom([]string{"hostName", "port", "x"}), word, 1, 2).Draw(r, "host")
		case "checkbox":
			f.Values = []string{rapid.SampledFrom([]string{"true", "false", "x"}).Draw(r, "checked")}
		default:
			f.Values = rapid.SliceOfN(word, 1, 2).Draw(r, "values")
		}
		one.Record.Fields = append(one.Record.Fields, f)
	}
	return one
}

// What a project file says is what was written into it.
func TestAProjectComesBackAsItWas(t *testing.T) {
	t.Parallel()
	ref := rapid.StringMatching(`[ -~é]{1,8}`)
	rapid.Check(t, func(r *rapid.T) {
		p := exchange.Project{Name: rapid.StringMatching(`[ -~é]{1,8}`).Draw(r, "name")}
		p.Configuration = exchange.ProjectConfiguration{
			Title: ref.Draw(r, "config"), Environment: rapid.SampledFrom([]string{"local", "domain"}).Draw(r, "environment"),
			Gateway: ref.Draw(r, "gateway"), Admin: ref.Draw(r, "admin"), Off: rapid.Bool().Draw(r, "off"),
		}
		resources := rapid.IntRange(0, 3).Draw(r, "resources")
		for i := range resources {
			one := drawRecord(r, i, rapid.SampledFrom([]pam.RecordType{pam.TypeMachine, pam.TypeDirectory, "pamDatabase"}).Draw(r, "type"))
			one.Resource = true
			if rapid.Bool().Draw(r, "has an admin") {
				one.Admin = ref.Draw(r, "its admin")
			}
			for range rapid.IntRange(0, 2).Draw(r, "services") {
				kinds := pam.MappingKinds(rapid.IntRange(1, int(pam.MapAll)).Draw(r, "kinds"))
				one.Services = append(one.Services, exchange.ProjectService{User: ref.Draw(r, "user"), Kinds: kinds})
			}
			p.Records = append(p.Records, one)
		}
		for i := range rapid.IntRange(0, 4).Draw(r, "users") {
			one := drawRecord(r, 50+i, rapid.SampledFrom([]pam.RecordType{pam.TypeUser, pam.TypeLogin}).Draw(r, "type"))
			one.Parent = rapid.IntRange(-1, resources-1).Draw(r, "parent")
			if rapid.Bool().Draw(r, "rotates") {
				one.Rotation = &exchange.ProjectRotation{
					Enabled:    rapid.SampledFrom([]string{"on", "off", "default"}).Draw(r, "enabled"),
					Complexity: rapid.StringMatching(`[0-9,]{0,5}`).Draw(r, "complexity"),
					Policy: pam.Policy{
						Restart: rapid.SampledFrom([]pam.RestartRule{"", pam.RestartNever}).Draw(r, "restart"),
						Window:  rapid.StringMatching(`[ -~]{0,3}`).Draw(r, "window"), MaxFailures: pam.Limit(rapid.StringMatching(`[0-9]?`).Draw(r, "max")),
					},
				}
			}
			p.Records = append(p.Records, one)
		}
		text, err := writeProject(p)
		if err != nil {
			r.Fatal(err)
		}
		got, err := exchange.ReadProject([]byte(text))
		if err != nil {
			r.Fatalf("%v\n%s", err, text)
		}
		if d := gocmp.Diff(showProject(p), showProject(got), cmpopts.EquateEmpty()); d != "" {
			r.Fatalf("%s\n%s", d, text)
		}
		if again, err := writeProject(got); err != nil || again != text {
			r.Fatalf("%v: written once:\n%s\nand again:\n%s", err, text, again)
		}
	})
}

func TestABadProjectSaysWhereItIsBad(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ what, text, want string }{
		{"no JSON", "{\n nonsense", "line 2: not JSON"},
		{"a list", "[]", "is not an object"},
		{"a name that is none", `{"project":[]}`, `field "project": is no text`},
		{"a configuration that is none", `{"pam_configuration":3}`, "pam_configuration: is not an object"},
		{"a switch that is none", `{"pam_configuration":{"rotation":"maybe"}}`, `pam_configuration: field "rotation": "maybe" is not on, off or default`},
		{"resources that are no list", `{"pam_data":{"resources":{}}}`, `"resources" is not a list`},
		{"a resource that is a text", `{"pam_data":{"resources":["x"]}}`, "resource 1: is not an object"},
		{"a resource without a type", `{"pam_data":{"resources":[{"title":"m"}]}}`, `resource 1 ("m"), field "type": is missing`},
		{"a host that is a list", `{"pam_data":{"resources":[{"title":"m","type":"pamMachine","host":[]}]}}`, `resource 1 ("m"), field "host": is no text`},
		{"a password that is an object", `{"pam_data":{"users":[{"title":"u","password":{}}]}}`, `user 1 ("u"), field "password": is no text`},
		{"half a character", `{"pam_data":{"users":[{"title":"u","password":"\ud800abc"}]}}`, `user 1 ("u"), field "password": has half a character`},
		{"users that are no list", `{"pam_data":{"resources":[{"title":"m","type":"pamMachine","users":1}]}}`, `"users" is not a list`},
		{"a bad user in a resource", `{"pam_data":{"resources":[{"title":"m","type":"pamMachine","users":[{},{"title":"u","login":[]}]}]}}`, `resource 1, user 2 ("u"), field "login"`},
		{"another rotation", `{"pam_data":{"users":[{"title":"u","rotation_settings":{"rotation":"iam_user"}}]}}`, `user 1 ("u"), field "rotation_settings": rotation "iam_user" is not supported`},
		{"a profile that is not there", `{"pam_data":{"users":[{"title":"u","rotation_settings":"x"}]}}`, `there is no rotation profile "x"`},
		{"a policy that is none", `{"pam_data":{"users":[{"title":"u","rotation_settings":{"policy":[]}}]}}`, `field "policy": is no object`},
		{"a type of service that is none", `{"pam_data":{"resources":[{"title":"m","type":"pamMachine","services":[{"user":"u","types":["cron"]}]}]}}`, `resource 1 ("m"), field "services": unknown type "cron"`},
		{"a service of nobody", `{"pam_data":{"resources":[{"title":"m","type":"pamMachine","services":[{}]}]}}`, `a service has no user`},
		{"text that is no UTF-8", "{\"project\":\"\xff\"}", "line 1: the file is not UTF-8"},
	} {
		p, err := exchange.ReadProject([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || len(p.Records) != 0 {
			t.Errorf("%s: got %v, want %s", c.what, err, c.want)
		}
	}
}

// A secret that is no text would come back as another one.
func TestASecretThatIsNoTextIsRefused(t *testing.T) {
	t.Parallel()
	r := pam.Record{Head: pam.Head{Title: "t", Type: pam.TypeLogin}, Fields: []pam.Field{{Type: "secret", Label: "k", Secret: secret.New([]byte{0xff})}}}
	entries := []exchange.Entry{{Place: "record 1", Record: r}}
	_, err := writeProject(exchange.Project{Records: []exchange.ProjectRecord{{Entry: entries[0], Parent: -1}}})
	errs := map[string]error{"project": err}
	_, errs["JSON"] = writeJSON(entries)
	_, errs["CSV"] = writeCSV(entries)
	for what, err := range errs {
		if err == nil || !strings.Contains(err.Error(), `record 1 ("t"): field "$secret:k" is not UTF-8`) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzReadProject(f *testing.F) {
	for _, text := range []string{
		"", "{}", "[]", `{"pam_data":{"rotation_profiles":{"a":{}},"resources":[{"type":"pamMachine","host":"h","port":1,"users":[{"rotation_settings":"a"}]}]}}`,
		`{"pam_data":{"users":[{"title":"t","x":1,"y":[],"alternative_ips":["a"],"custom_fields":{"$a:b":["c",{"d":1}]}}]}}`,
		`{"pam_data":{"resources":[{"type":"x","services":[{"user":"u","types":["iis"]}],"pam_settings":{"connection":{"administrative_credentials":"a"}}}]}}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := exchange.ReadProject([]byte(text))
		if err != nil {
			if len(p.Records) != 0 {
				t.Fatal("a bad file left records")
			}
			return
		}
		once, err := writeProject(p)
		if err != nil {
			return
		}
		again, err := exchange.ReadProject([]byte(once))
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, once)
		}
		if twice, err := writeProject(again); err != nil || twice != once {
			t.Fatalf("written once:\n%s\nand again:\n%s", once, twice)
		}
	})
}
