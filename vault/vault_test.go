package vault_test

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault"
)

const testPassphrase = "correct horse"

func word(s string) secret.Value { return secret.Copy([]byte(s)) }

func options() vault.Options {
	return vault.Options{KDFMemory: 19 * 1024, Now: time.Now, Random: rand.Reader, Actor: "tester"}
}

// A clock is moved by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

// Now moves on a little each time, so that the order of events shows.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Millisecond)
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func createWith(t *testing.T, o vault.Options) (*vault.Vault, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "vault")
	v, err := vault.Create(t.Context(), dir, word(testPassphrase), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v, dir
}

func create(t *testing.T) (*vault.Vault, string) {
	t.Helper()
	return createWith(t, options())
}

func openAgain(t *testing.T, dir string) (*vault.Vault, error) {
	t.Helper()
	key, err := vault.UnlockKey(t.Context(), dir, word(testPassphrase))
	if err != nil {
		return nil, err
	}
	defer key.Destroy()
	v, err := vault.Open(t.Context(), dir, key, options())
	if err == nil {
		t.Cleanup(func() { _ = v.Close() })
	}
	return v, err
}

func userRecord(title, login, password string) pam.Record {
	return pam.Record{Head: pam.Head{Title: title, Type: pam.TypeUser}, Fields: []pam.Field{
		{Type: "login", Values: []string{login}}, {Type: "password", Secret: word(password)},
	}}
}

func machineRecord(title, host, system string) pam.Record {
	return pam.Record{Head: pam.Head{Title: title, Type: pam.TypeMachine}, Fields: []pam.Field{
		{Type: "pamHostname", Parts: map[string]string{"hostName": host, "port": "5986"}},
		{Type: "text", Label: "operatingSystem", Values: []string{system}},
	}}
}

func add(t *testing.T, v *vault.Vault, r pam.Record) pam.UID {
	t.Helper()
	uid, err := v.AddRecord(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return uid
}

// rotatable adds a machine and a user that is rotated on it.
func rotatable(t *testing.T, v *vault.Vault, name string) (user, machine pam.UID) {
	t.Helper()
	machine = add(t, v, machineRecord("DC of "+name, "dc."+name, "Windows"))
	user = add(t, v, userRecord(name, `LAB\`+name, "first-"+name))
	must(t, v.SetRotation(t.Context(), pam.RotationSettings{User: user, Resource: machine, Enabled: true}))
	return user, machine
}

func newJob(t *testing.T, v *vault.Vault, user pam.UID) pam.Job {
	t.Helper()
	j, err := v.CreateJob(t.Context(), user, pam.JobOptions{})
	must(t, err)
	return j
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wants fails unless err is of that kind and its text and hint hold the words.
func wants(t *testing.T, err error, kind pam.Kind, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got %v, want %s", err, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error()+"\n"+pam.HintOf(err), w) {
			t.Errorf("error %q (hint %q) does not say %q", err, pam.HintOf(err), w)
		}
	}
}

func passwordOf(t *testing.T, v *vault.Vault, user pam.UID) string {
	t.Helper()
	r, err := v.Record(t.Context(), user)
	must(t, err)
	f := r.Field("password", "")
	if f == nil {
		return ""
	}
	return string(f.Secret.Reveal())
}

func TestANewVaultHasAGatewayAndAConfiguration(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	gateways, err := v.Gateways(t.Context())
	must(t, err)
	configurations, err := v.Configurations(t.Context())
	must(t, err)
	if len(gateways) != 1 || gateways[0].Name != "Embedded" || len(configurations) != 1 ||
		configurations[0].Title != "Local Network" || configurations[0].Gateway != gateways[0].UID {
		t.Errorf("got %v and %v", gateways, configurations)
	}
	info, err := v.Info(t.Context())
	must(t, err)
	if info.Dir != dir || info.Format != 1 || info.Records != 0 || info.Created.IsZero() || !pam.IsUID(string(info.ID)) ||
		!reflect.DeepEqual(info.Slots, []string{"passphrase"}) {
		t.Errorf("got %+v", info)
	}
	_, err = vault.Create(t.Context(), dir, word("other"), options())
	wants(t, err, pam.ErrConflict, "already")
}

func TestARecordComesBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	folder, err := v.AddFolder(t.Context(), "Prod", "")
	must(t, err)
	want := pam.Record{
		Head: pam.Head{Title: `a "quoted" <title> ` + "\u2028ő", Type: pam.TypeLogin, Folder: folder}, Notes: "line\nline",
		Fields: []pam.Field{
			{Type: "login", Values: []string{"root"}},
			{Type: "password", Secret: word("p\x00w\xff")},
			{Type: "secret", Label: "privatePEMKey", Secret: word("KEY")},
			{Type: "pamHostname", Parts: map[string]string{"hostName": "h", "port": "22"}},
			{Type: "unheardOf", Label: "x", Custom: true, Values: []string{"1.10", "007", ""}},
			{Type: "secret", Label: "empty"},
		},
	}
	uid := add(t, v, want)
	must(t, v.Close())
	v, err = openAgain(t, dir)
	must(t, err)
	got, err := v.Record(t.Context(), uid)
	must(t, err)
	if got.Summary != "root" || got.Revision == 0 || got.Created.IsZero() || got.UID != uid {
		t.Errorf("head is %+v", got.Head)
	}
	for i, f := range want.Fields {
		g := got.Fields[i]
		if !f.Secret.Equal(g.Secret) {
			t.Errorf("secret of %s.%s changed", f.Type, f.Label)
		}
		f.Secret, g.Secret = secret.Value{}, secret.Value{}
		if !reflect.DeepEqual(f, g) {
			t.Errorf("got %+v, want %+v", g, f)
		}
	}
	if got.Title != want.Title || got.Notes != want.Notes || got.Folder != folder || got.Type != want.Type {
		t.Errorf("got %+v", got)
	}
}

func TestTextThatCannotBeReadBackIsRefused(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	for name, r := range map[string]pam.Record{
		"no title":       {Head: pam.Head{Type: pam.TypeLogin, Title: "  "}},
		"no type":        {Head: pam.Head{Title: "x"}},
		"title no UTF-8": {Head: pam.Head{Title: "a\xff", Type: pam.TypeLogin}},
		"value no UTF-8": {Head: pam.Head{Title: "a", Type: pam.TypeLogin}, Fields: []pam.Field{{Type: "text", Values: []string{"\xfe"}}}},
	} {
		if _, err := v.AddRecord(t.Context(), r); !errors.Is(err, pam.ErrInvalidInput) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if heads, err := v.Heads(t.Context()); err != nil || len(heads) != 0 {
		t.Errorf("got %v, %v", heads, err)
	}
}

func TestAnUpdateOfAnOldRevisionIsRefused(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	uid := add(t, v, machineRecord("SRV1", "srv1", "Windows"))
	first, err := v.Record(t.Context(), uid)
	must(t, err)
	second := first
	first.Title = "one"
	must(t, v.UpdateRecord(t.Context(), first))
	second.Title = "two"
	wants(t, v.UpdateRecord(t.Context(), second), pam.ErrConflict, "meanwhile")
	got, err := v.Record(t.Context(), uid)
	must(t, err)
	if got.Title != "one" || got.Created != first.Created || !got.Modified.After(first.Modified) {
		t.Errorf("got %+v", got.Head)
	}
}

func TestAPasswordHasOneHome(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	user, _ := rotatable(t, v, "svc")
	_, account, err := v.User(t.Context(), user)
	must(t, err)
	edit := func(password string) {
		t.Helper()
		r, err := v.Record(t.Context(), user)
		must(t, err)
		r.Field("password", "").Secret = word(password)
		must(t, v.UpdateRecord(t.Context(), r))
	}
	edit("second")
	edit("second") // the same again is no new generation
	edit("")       // nothing typed changes nothing
	if got := passwordOf(t, v, user); got != "second" {
		t.Errorf("the record shows %q", got)
	}
	current, err := v.Generation(t.Context(), account.UID, pam.Current)
	must(t, err)
	previous, err := v.Generation(t.Context(), account.UID, pam.Previous)
	must(t, err)
	if current.Number != 2 || current.Source != pam.SourceManual || string(previous.Password.Reveal()) != "first-svc" {
		t.Errorf("got %+v and %+v", current, previous)
	}
	_, err = v.Generation(t.Context(), account.UID, pam.Pending)
	wants(t, err, pam.ErrNotFound, "pending")
}

func TestAUserWithoutAPasswordFieldGetsOneToShowItsCredential(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	machine := add(t, v, machineRecord("M", "m", "Linux"))
	user := add(t, v, pam.Record{Head: pam.Head{Title: "u", Type: pam.TypeUser}, Fields: []pam.Field{
		{Type: "text", Label: "a"}, {Type: "login", Values: []string{"u"}}, {Type: "text", Label: "b"},
	}})
	must(t, v.SetRotation(t.Context(), pam.RotationSettings{User: user, Resource: machine}))
	j := newJob(t, v, user)
	_, err := v.Stage(t.Context(), j.ID, j.Account, word("made"), pam.Evidence{})
	must(t, err)
	must(t, v.Commit(t.Context(), j.ID, pam.VerdictRight))
	r, err := v.Record(t.Context(), user)
	must(t, err)
	if len(r.Fields) != 4 || r.Fields[2].Type != "password" || string(r.Fields[2].Secret.Reveal()) != "made" {
		t.Errorf("got %+v", r.Fields)
	}
}

func TestAChangedLoginNamesAnotherAccount(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	user, machine := rotatable(t, v, "svc")
	_, before, err := v.User(t.Context(), user)
	must(t, err)
	_, err = v.Identify(t.Context(), before.UID, pam.Identity{Alias: "S-1", SID: "S-1"})
	must(t, err)
	r, err := v.Record(t.Context(), user)
	must(t, err)
	r.Field("login", "").Values = []string{`LAB\second`}
	must(t, v.UpdateRecord(t.Context(), r))
	_, after, err := v.User(t.Context(), user)
	must(t, err)
	if after.UID == before.UID || after.Name != `LAB\second` || after.SID != "" || after.Resource != machine {
		t.Errorf("got %+v after %+v", after, before)
	}
	if got := passwordOf(t, v, user); got != "first-svc" {
		t.Errorf("the record shows %q", got)
	}
	if _, err := v.Generation(t.Context(), before.UID, pam.Current); err != nil {
		t.Errorf("the old account lost its password: %v", err)
	}
}

func TestARecordTypeWithACredentialStays(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	login := add(t, v, pam.Record{Head: pam.Head{Title: "l", Type: pam.TypeLogin}, Fields: []pam.Field{
		{Type: "login", Values: []string{"l"}}, {Type: "password", Secret: word("pw")},
	}})
	r, err := v.Record(t.Context(), login)
	must(t, err)
	r.Type = pam.TypeUser
	must(t, v.UpdateRecord(t.Context(), r))
	if got := passwordOf(t, v, login); got != "pw" {
		t.Errorf("got %q", got)
	}
	r, err = v.Record(t.Context(), login)
	must(t, err)
	r.Type = pam.TypeLogin
	wants(t, v.UpdateRecord(t.Context(), r), pam.ErrInvalidInput, "pamUser")
}

func TestDeletingARecordTakesItsSettingsAlong(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	user, machine := rotatable(t, v, "svc")
	must(t, v.SetMapping(t.Context(), pam.Mapping{User: user, Machine: machine, Kinds: pam.MapAll}))
	must(t, v.SetResourceSettings(t.Context(), pam.ResourceSettings{Resource: machine, Disabled: true}))
	_, account, err := v.User(t.Context(), user)
	must(t, err)
	must(t, v.DeleteRecord(t.Context(), machine))
	if all, err := v.AllMappings(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("mappings of a deleted machine: %v, %v", all, err)
	}
	if s, err := v.ResourceSettings(t.Context(), machine); err != nil || s.Disabled {
		t.Errorf("settings of a deleted machine: %v, %v", s, err)
	}
	must(t, v.DeleteRecord(t.Context(), user))
	if _, ok, err := v.Rotation(t.Context(), user); ok || err != nil {
		t.Errorf("rotation of a deleted user: %v", err)
	}
	if _, err := v.Generation(t.Context(), account.UID, pam.Current); err != nil {
		t.Errorf("the credential went with its record: %v", err)
	}
	wants(t, v.DeleteRecord(t.Context(), user), pam.ErrNotFound)
}

func TestAClosedVaultGivesNothing(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	uid := add(t, v, userRecord("a", "a", "a"))
	must(t, v.Close())
	if _, err := v.Record(t.Context(), uid); err == nil {
		t.Error("a record came out of a closed vault")
	}
	if key := v.Key(); !key.IsZero() {
		t.Error("the key outlived its vault")
	}
}

func TestACancelledContextIsAnInterruption(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.AddRecord(ctx, userRecord("a", "a", "a")); pam.KindOf(err) != pam.ErrInterrupted {
		t.Errorf("got %v", err)
	}
}
