package exchange_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"keyturn/commands/exchange"
	"keyturn/pkg/kdbx"
	"keyturn/pkg/needtest"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

func word(s string) secret.Value { return secret.Copy([]byte(s)) }

func fixture(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "keepass", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// wiki is an entry of the fixtures.
func wiki(folder ...string) shown {
	return shown{Title: "Wiki", Type: "login", Folder: folder, Fields: []shownField{
		{Name: "login.", Values: []string{"me"}},
		{Name: "password.", Secret: "pass-word-1 äß"},
		{Name: "url.", Values: []string{"https://wiki.example"}},
	}}
}

func TestWhatKeePassXCWroteIsRead(t *testing.T) {
	t.Parallel()
	first := wiki()
	first.UID, first.Notes = "cplylOcBnZ1WX3n9S052tQ", "two\nlines"
	first.Fields = append(first.Fields, shownField{Name: "text.Favourite", Values: []string{"tea"}},
		shownField{Name: "secret.API key", Secret: "canary-2"},
		shownField{Name: "oneTimeCode.", Secret: "otpauth://totp/x?secret=GEZDGNBVGY3TQOJQ"})
	other := wiki("Ours")
	other.Notes = "one line"
	for _, c := range []struct {
		file  string
		key   kdbx.Key
		want  []shown
		notes []string
	}{
		{
			"keepassxc31.kdbx",
			kdbx.Key{Password: word("keyturn"), KeyFile: secret.New(fixture(t, "key.bin"))},
			[]shown{first, {Title: "nobody", Type: "login", Folder: []string{"Web/Intern"}, Fields: []shownField{
				{Name: "login.", Values: []string{"nobody"}}, {Name: "password.", Secret: "p2"},
			}}},
			[]string{
				"1 entry(s) without a title are called by their address or login",
				"former versions of 1 entry(s) are not taken over",
				"tags of 1 entry(s) are not taken over",
				"the date of expiry of 1 entry(s) is not taken over",
				"1 entry(s) in the recycle bin are not taken over",
			},
		},
		{
			"keepassxc4.kdbx",
			kdbx.Key{Password: word("keyturn")},
			[]shown{
				{Title: "Gone", Type: "login", Fields: []shownField{{Name: "login.", Values: []string{"gone"}}, {Name: "password.", Secret: "*"}}},
				{Title: "Ours", Type: "login", Folder: []string{"Ours"}, UID: "AQIDAAAAAAAAAAAAAAAAAA", Fields: []shownField{
					{Name: "secret.API key", Secret: "canary-3"},
					{Name: "password.", Secret: "pass-word-9"},
					{Name: "login.", Values: []string{"us2"}},
				}},
				other,
			},
			[]string{"former versions of 1 entry(s) are not taken over"},
		},
	} {
		f, err := exchange.ReadKeePass(fixture(t, c.file), c.key)
		if err != nil {
			t.Fatal(err)
		}
		got := show(f.Entries)
		for i := range got {
			if !pam.IsUID(string(got[i].UID)) {
				t.Errorf("%s: UID %q", got[i].Title, got[i].UID)
			}
			if i < len(c.want) && c.want[i].UID == "" {
				got[i].UID = "" // made by chance, once
			}
			if got[i].Title == "Gone" { // generated, once
				got[i].Fields[0], got[i].Fields[1] = byName(got[i].Fields, "login."), byName(got[i].Fields, "password.")
				got[i].Fields[1].Secret = "*"
			}
		}
		byField := cmpopts.SortSlices(func(a, b shownField) bool { return a.Name < b.Name })
		if d := cmp.Diff(c.want, got, byField); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff(c.notes, f.Notes); d != "" {
			t.Error(d)
		}
	}
}

func byName(fields []shownField, name string) shownField {
	for _, f := range fields {
		if f.Name == name {
			return f
		}
	}
	return shownField{}
}

// Texts that only a hostile or careless writer would make.
func oddText() *rapid.Generator[string] {
	return rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		"\x1b[31mred", "a\x00b", "\u202egpj.exe", "=1+1", "$type", "otp", "{\"a\":\"b\"", "{REF:P@I:00}", "\ufffe", "a\r\nb",
	}))
}

// Records of any content come back from a KeePass database as they were.
func TestRecordsComeBackFromKeePassAsTheyWere(t *testing.T) {
	t.Parallel()
	notEmpty := func(s string) bool { return strings.TrimSpace(s) != "" }
	label := rapid.OneOf(rapid.StringMatching(`[A-Za-z$:#. ]{0,8}`), rapid.SampledFrom([]string{"Title", "title", "otp", "Password", "$uid", "many#2"}))
	rapid.Check(t, func(r *rapid.T) {
		var entries []exchange.Entry
		for range rapid.IntRange(1, 3).Draw(r, "records") {
			e := exchange.Entry{Folder: rapid.SliceOfN(rapid.StringMatching(`[A-Za-zé\\ ]{0,3}[a-z]`), 0, 2).Draw(r, "folder")}
			e.Record.Title, e.Record.Notes = oddText().Filter(notEmpty).Draw(r, "title"), oddText().Draw(r, "notes")
			e.Record.Type = pam.RecordType(rapid.SampledFrom([]string{"login", "pamUser", "x"}).Draw(r, "type"))
			e.Record.UID = pam.UID(rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9_-]{21}`).Draw(r, "uid"))
			for _, name := range rapid.SliceOfNDistinct(label, 0, 5, rapid.ID).Draw(r, "labels") {
				f := pam.Field{Label: name}
				switch rapid.IntRange(0, 2).Draw(r, "kind") {
				case 0:
					f.Type = "text"
					f.Values = rapid.SliceOfN(oddText().Filter(func(s string) bool { return s != "" }), 1, 3).Draw(r, "values")
				case 1:
					f.Type = rapid.SampledFrom([]string{"secret", "oneTimeCode", "privateKey"}).Draw(r, "secret type")
					f.Secret = secret.New(rapid.SliceOfN(rapid.Byte(), 1, 9).Draw(r, "secret"))
				case 2:
					f.Type, f.Parts = "pamHostname", rapid.MapOfN(rapid.StringMatching(`[a-z]{1,4}`), rapid.StringMatching(`[ -~]{1,5}`), 1, 3).Draw(r, "parts")
				}
				e.Record.Fields = append(e.Record.Fields, f)
			}
			entries = append(entries, e)
		}
		f, err := exchange.ThroughKeePass(entries)
		if err != nil {
			r.Fatal(err)
		}
		want := show(entries)
		for i := range want {
			for _, e := range want[:i] {
				if e.UID == want[i].UID {
					want[i].UID = "" // one UID cannot be two records'
				}
			}
		}
		if d := cmp.Diff(want, show(f.Entries), cmpopts.EquateEmpty()); d != "" {
			r.Fatal(d)
		}
	})
}

func TestAnEntryOfAnyUUIDIsFoundAgain(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		var uuid [16]byte
		copy(uuid[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(r, "uuid"))
		uuid[0] |= rapid.SampledFrom([]byte{0, 0xf8, 0xfc}).Draw(r, "first")
		if uuid == [16]byte{} {
			return
		}
		var uids [2]pam.UID
		for i := range uids {
			f, err := exchange.FromKeePass(kdbx.Database{Entries: []kdbx.Entry{{UUID: uuid}}})
			if err != nil {
				r.Fatal(err)
			}
			uids[i] = f.Entries[0].Record.UID
		}
		if uids[0] != uids[1] || !pam.IsUID(string(uids[0])) {
			r.Errorf("got %q and %q", uids[0], uids[1])
		}
	})
}

func TestABadEntryIsNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what  string
		field kdbx.Field
		want  string
	}{
		{"a text that is no UTF-8", kdbx.Field{Key: "Notes", Value: word("\xff"), Protected: true}, `entry 1 ("t"), field "Notes": is not UTF-8`},
		{"a name that is only a dollar sign", kdbx.Field{Key: "$", Value: word("x")}, `entry 1 ("t"), field "$": has no type`},
		{"parts with half a character", kdbx.Field{Key: "$host", Value: word(`{"a":{"b":"\ud800"}}`)}, `field "$host": has half a character`},
	} {
		f, err := exchange.FromKeePass(kdbx.Database{Entries: []kdbx.Entry{{Fields: []kdbx.Field{{Key: "Title", Value: word("t")}, c.field}}}})
		if err == nil || !strings.Contains(err.Error(), c.want) || len(f.Entries) != 0 {
			t.Errorf("%s: got %v, want %s", c.what, err, c.want)
		}
	}
	bad := []exchange.Entry{{Place: "record 1", Folder: []string{"a\x01"}, Record: pam.Record{Head: pam.Head{Title: "t"}}}}
	var b bytes.Buffer
	err := exchange.WriteKeePass(&b, bad, kdbx.Key{Password: word("k")}, kdbx.Version4)
	if err == nil || b.Len() != 0 || !strings.Contains(err.Error(), `record 1 ("t"): the name of group`) {
		t.Errorf("wrote %d bytes, %v", b.Len(), err)
	}
}

// keepassxc runs KeePassXC's own program on a file with the password "keyturn".
func keepassxc(t *testing.T, args ...string) string {
	t.Helper()
	program, err := exec.LookPath("keepassxc-cli")
	if err != nil {
		needtest.Missing(t, "keepassxc-cli is needed")
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), "QT_QPA_PLATFORM=offscreen", "HOME="+t.TempDir())
	cmd.Stdin = strings.NewReader("keyturn\nkeyturn\n")
	out, err := cmd.Output()
	if err != nil {
		failed, _ := errors.AsType[*exec.ExitError](err)
		t.Fatalf("keepassxc-cli %v: %v\n%s", args, err, failed.Stderr)
	}
	return string(out)
}

func TestKeePassXCOpensWhatWeWrote(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<20)
	r := pam.Record{Head: pam.Head{Title: "Wiki äß", Type: "pamUser", UID: "cplylOcBnZ1WX3n9S052tQ"}, Notes: "two\nlines", Fields: []pam.Field{
		{Type: "login", Values: []string{`LAB\me`}},
		{Type: "password", Secret: word("pass <&> word")},
		{Type: "text", Label: "Favourite", Values: []string{"tea"}},
		{Type: "secret", Label: "API key", Secret: word("canary-2")},
		{Type: "text", Label: "Long", Values: []string{long}},
		{Type: "text", Label: "Odd", Values: []string{"\x1b[31mred\u202e"}},
		{Type: "oneTimeCode", Secret: word("otpauth://totp/x?secret=GEZDGNBVGY3TQOJQ&period=30&digits=6&issuer=x")},
	}}
	entries := []exchange.Entry{{Record: r, Folder: []string{"Team", "Web"}}}
	for _, v := range []kdbx.Version{kdbx.Version31, kdbx.Version4} {
		var b bytes.Buffer
		if err := exchange.WriteKeePass(&b, entries, kdbx.Key{Password: word("keyturn")}, v); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "out.kdbx")
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		text := keepassxc(t, "show", "-q", "-s", "--all", file, "Team/Web/Wiki äß")
		for _, want := range []string{
			"Title: Wiki äß\n", `UserName: LAB\me`, "Password: pass <&> word\n", "Notes: two\nlines\n", "Favourite: tea\n", "API key: canary-2\n",
			"Long: " + long + "\n", "Odd: \x1b[31mred\u202e\n",
			"$type: pamUser\n", "{72997294-e701-9d9d-565f-79fd4b4e76b5}",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("version %d: %q is missing in:\n%s", v, want, text)
			}
		}
		if code := strings.TrimSpace(keepassxc(t, "show", "-q", "-t", file, "Team/Web/Wiki äß")); len(code) != 6 {
			t.Errorf("version %d: the one-time code is %q", v, code)
		}
	}
}

// KeePassXC makes a database, changes it, and changes one of ours.
func TestWeReadWhatKeePassXCMakesNow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	theirs := filepath.Join(dir, "theirs.kdbx")
	keepassxc(t, "import", "-q", "-p", filepath.Join("testdata", "keepass", "keepass.xml"), theirs)
	ours := filepath.Join(dir, "ours.kdbx")
	if err := os.WriteFile(ours, fixture(t, "keepassxc4.kdbx"), 0o600); err != nil {
		t.Fatal(err)
	}
	keepassxc(t, "mkdir", "-q", ours, "Team")
	keepassxc(t, "add", "-q", "-g", "-L", "32", "-u", "me", ours, "Team/Made")
	for file, want := range map[string]string{theirs: "Wiki nobody", ours: "Gone Ours Wiki Made"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f, err := exchange.ReadKeePass(data, kdbx.Key{Password: word("keyturn")})
		if err != nil {
			t.Fatal(err)
		}
		var titles []string
		for _, e := range f.Entries {
			titles = append(titles, e.Record.Title)
		}
		if got := strings.Join(titles, " "); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
