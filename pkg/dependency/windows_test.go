package dependency_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"keyturn/pkg/dependency"
	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A canned machine answers every request with the same lines, and breaks off
// after them when told to.
type canned struct {
	lines   []powershell.Line
	broken  error
	asked   []powershell.Request
	secrets []string
	closed  bool
}

func (c *canned) Dial(context.Context, remote.Target) (remote.Session, error) { return c, nil }

func (c *canned) Run(_ context.Context, s remote.Script, parts ...secret.Value) (remote.Result, error) {
	in := secret.Join(parts...)
	frame, err := powershell.ReadFrame(bytes.NewReader(in.Reveal()))
	if err != nil {
		return remote.Result{}, err
	}
	c.asked = append(c.asked, frame.Request)
	for _, s := range frame.Secrets {
		c.secrets = append(c.secrets, string(s.Reveal()))
	}
	var out bytes.Buffer
	for n, line := range c.lines {
		line.N = frame.Request.Nonce
		if line.T == "bye" && line.Counts == nil {
			line.Counts = map[string]int{powershell.CountLines: n}
		}
		if err := powershell.WriteLine(&out, line); err != nil {
			return remote.Result{}, err
		}
	}
	s.OnOutput(out.Bytes())
	return remote.Result{Stdout: out.Bytes()}, c.broken
}

func (c *canned) Close() error {
	c.closed = true
	return nil
}

func (c *canned) open(t *testing.T) dependency.Host {
	t.Helper()
	h, err := dependency.Open(t.Context(), c, remote.Target{}, dependency.Options{
		Random: rand.Reader, Now: func() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// talk decodes lines written as JSON: the shortest way to read them.
func talk(t *testing.T, text string) []powershell.Line {
	t.Helper()
	var lines []powershell.Line
	for row := range strings.Lines(text) {
		if row = strings.TrimSpace(row); row == "" {
			continue
		}
		var l powershell.Line
		if err := json.Unmarshal([]byte(row), &l); err != nil {
			t.Fatalf("%s: %v", row, err)
		}
		lines = append(lines, l)
	}
	return lines
}

const (
	hello = `{"t":"hello","v":1,"host":"SRV1","elevated":true}
{"t":"machine","guid":"{AB-12}","domain":"CORP","user":"CORP\\admin","lockoutThreshold":5}
{"t":"account","sid":"S-1-5-21-1-1105","sam":"svc_app","name":"CORP\\svc_app","class":"user","scope":"domain"}
`
	bye = `{"t":"bye","code":0}`
)

var (
	allKinds = pam.MapAll.Dependencies()
	subject  = dependency.Subject{Login: `CORP\svc_app`, Identity: pam.Identity{
		Alias: "S-1-5-21-1-1105", SID: "S-1-5-21-1-1105", Name: `CORP\svc_app`,
	}}
	broke = &remote.Error{Kind: pam.ErrIO, Address: "srv1:5986", Op: "read output", Err: errors.New("reset"), Sent: true}
)

func look(t *testing.T, c *canned) (dependency.Inventory, error) {
	t.Helper()
	h := c.open(t)
	defer func() { _ = h.Close() }()
	return h.Look(t.Context(), dependency.LookRequest{Run: "run1", Subject: subject, Kinds: allKinds})
}

func TestLookReadsAnInventory(t *testing.T) {
	t.Parallel()
	c := &canned{lines: talk(t, hello+`
{"t":"item","phase":"look","kind":"service","id":"App","display":"The App","runAs":"corp\\SVC_App","match":{"hit":true,"by":"sid","class":"user"},"state":"Running","startMode":"Auto","pid":812,"started":"2026-11-24T08:00:00Z","canStop":true,"own":true,"dependents":["Web"]}
{"t":"item","phase":"look","kind":"service","id":"Web","runAs":"LocalSystem","match":{"hit":false,"by":"sid","class":"builtin"},"state":"Start Pending","startMode":"Automatic","dependsOn":["App"]}
{"t":"item","phase":"look","kind":"task","id":"\\Nightly","runAs":"CORP\\svc_app","match":{"hit":true,"by":"sid","class":"user"},"state":"Ready","stores":true,"logonType":"Password"}
{"t":"item","phase":"look","kind":"task","id":"\\Token","runAs":"CORP\\svc_app","match":{"hit":true,"by":"sid","class":"user"},"state":"Ready","logonType":"S4U"}
{"t":"item","phase":"look","kind":"iis_pool","id":"Shop","runAs":"OLD\\svc_app","match":{"hit":false,"by":"none","class":"unresolved","ambiguous":true},"state":"Started","workers":[7,8]}
`+bye)}
	inv, err := look(t, c)
	if err != nil {
		t.Fatal(err)
	}
	five := 5
	want := dependency.Inventory{
		MachineID: "ab-12", Host: "SRV1", Domain: "CORP", User: `CORP\admin`, LockoutThreshold: &five,
		Subject: dependency.Resolved{SID: "S-1-5-21-1-1105", Name: `CORP\svc_app`, Class: "user", Scope: "domain"},
		Seen:    time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC),
		Items: []dependency.Item{
			{
				Kind: pam.KindService, Name: "App", Display: "The App", RunAs: `corp\SVC_App`, Target: true, State: "Running", StartMode: "Auto",
				PID: 812, Started: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC), CanStop: true, Own: true, Dependents: []string{"Web"},
			},
			{Kind: pam.KindService, Name: "Web", RunAs: "LocalSystem", State: "StartPending", StartMode: "Auto", DependsOn: []string{"App"}},
			{Kind: pam.KindTask, Name: `\Nightly`, RunAs: `CORP\svc_app`, Target: true, State: "Ready", LogonType: "Password"},
			{Kind: pam.KindTask, Name: `\Token`, RunAs: `CORP\svc_app`, Skip: "no_stored_password", State: "Ready", LogonType: "S4U"},
			{Kind: pam.KindPool, Name: "Shop", RunAs: `OLD\svc_app`, Skip: "ambiguous_identity", State: "Started", Workers: []int{7, 8}},
		},
	}
	if diff := cmp.Diff(want, inv, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	asked := c.asked[0]
	if asked.Op != powershell.OpLook || asked.Run != "run1" || asked.Journal || len(asked.Kinds) != 6 || asked.Target.SIDs[0] != "S-1-5-21-1-1105" {
		t.Errorf("asked %+v", asked)
	}
	if !c.closed {
		t.Error("the session stayed open")
	}
}

func TestLookBelievesNoMoreThanItAskedFor(t *testing.T) {
	t.Parallel()
	target := `"match":{"hit":true,"class":"user"},"state":"Running","startMode":"Auto","canStop":true,"runAs":"x"`
	item := func(id, more string) string {
		return fmt.Sprintf(`{"t":"item","phase":"look","kind":"service","id":%q,%s,%s}`, id, target, more)
	}
	for _, row := range []struct {
		name, line string
		want       func(dependency.Item) bool // nil: no item
		note       string
	}{
		{name: "a kind of another mapping", line: strings.Replace(item("A", `"pid":1`), "service", "account", 1), note: "kind"},
		{name: "a name without an end", line: item(strings.Repeat("x", 2000), `"pid":1`), note: "unusable name"},
		{name: "no name", line: item("", `"pid":1`), note: "unusable name"},
		{
			name: "a negative process is none", line: item("A", `"pid":-5`),
			want: func(i dependency.Item) bool { return i.PID == 0 && i.Target },
		},
		{
			name: "a huge process is none", line: item("A", `"pid":4294967296,"workers":[0,-1,9999999999,3]`),
			want: func(i dependency.Item) bool { return i.PID == 0 && cmp.Equal(i.Workers, []int{3}) },
		},
		{
			name: "a time that is none", line: item("A", `"started":"yesterday"`),
			want: func(i dependency.Item) bool { return i.Started.IsZero() },
		},
		{
			name: "too many dependents: it is not restarted", line: item("A", `"dependents":["`+strings.Repeat(`B","`, 5000)+`B"]`),
			want: func(i dependency.Item) bool { return !i.CanStop && len(i.Dependents) == 4096 },
		},
		{
			name: "a dependent without a name: it is not restarted", line: item("A", `"dependsOn":[""]`),
			want: func(i dependency.Item) bool { return !i.CanStop },
		},
		{
			name: "a managed account's", line: strings.Replace(item("A", `"pid":1`), `"class":"user"`, `"class":"managed"`, 1),
			want: func(i dependency.Item) bool { return !i.Target && i.Skip == "managed_account" },
		},
		{
			name: "a state Windows does not have", line: strings.Replace(item("A", `"pid":1`), `"Running"`, `"Exploding"`, 1),
			want: func(i dependency.Item) bool { return i.State == "unknown" },
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inv, err := look(t, &canned{lines: talk(t, hello+row.line+"\n"+bye)})
			if err != nil {
				t.Fatal(err)
			}
			if row.want == nil && len(inv.Items) != 0 || row.want != nil && (len(inv.Items) != 1 || !row.want(inv.Items[0])) {
				t.Errorf("got %+v", inv.Items)
			}
			if got := strings.Join(inv.Warnings, "; "); !strings.Contains(got, row.note) || row.note == "" && got != "" {
				t.Errorf("warnings %q, want %q", got, row.note)
			}
		})
	}
}

func TestLookLeavesOutWhatIsListedTwice(t *testing.T) {
	t.Parallel()
	line := `{"t":"item","phase":"look","kind":"service","id":"%s","match":{"hit":true,"class":"user"},"state":"Running"}` + "\n"
	inv, err := look(t, &canned{lines: talk(t, hello+fmt.Sprintf(line, "App")+fmt.Sprintf(line, "APP")+bye)})
	if err != nil || len(inv.Items) != 1 || len(inv.Warnings) != 1 {
		t.Errorf("got %+v, %v", inv, err)
	}
}

func TestWhatCannotBeReadStaysUndone(t *testing.T) {
	t.Parallel()
	inv, err := look(t, &canned{lines: talk(t, hello+`
{"t":"item","phase":"look","kind":"task","id":"\\","status":"failed","err":{"class":"task_service_down"}}
{"t":"item","phase":"look","kind":"iis_pool","id":"*","status":"failed","err":{"class":"iis_unavailable"}}
`+bye)})
	if err != nil || len(inv.Items) != 2 || len(inv.Warnings) != 2 {
		t.Fatalf("got %+v, %v", inv, err)
	}
	for _, i := range dependency.PlanItems(pam.Machine{}, inv, dependency.PlanOptions{}) {
		if i.Status.Done() || i.Action != pam.ActionSkip || i.Reason == "" {
			t.Errorf("got %+v", i)
		}
	}
}

func TestLocalAccountOfAnotherMachineIsLeftAlone(t *testing.T) {
	t.Parallel()
	local := dependency.Subject{Login: `SRV1\svc`, Local: true, Identity: pam.Identity{SID: "S-1-5-21-9-1001", Name: `SRV1\svc`}}
	lines := talk(t, hello+`{"t":"item","phase":"look","kind":"service","id":"A","match":{"hit":true,"by":"sid","class":"user"},"state":"Running"}`+"\n"+bye)
	for alias, want := range map[string]int{"ab-12/S-1-5-21-9-1001": 1, "ff-00/S-1-5-21-9-1001": 0} {
		local.Identity.Alias = alias
		inv, err := (&canned{lines: lines}).open(t).Look(t.Context(), dependency.LookRequest{Subject: local, Kinds: allKinds})
		if err != nil || len(inv.Items) != want || len(inv.Warnings) != 1-want {
			t.Errorf("%s: got %+v, %v", alias, inv, err)
		}
	}
}

func TestLookFailsAsTheScriptDoes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		c    canned
		want pam.Kind
	}{
		{"no end marker", canned{lines: talk(t, hello)}, pam.ErrIO},
		{"a broken session", canned{broken: broke}, pam.ErrIO},
		{"no administrator", canned{lines: talk(t, `{"t":"fatal","class":"not_elevated"}`)}, pam.ErrPolicy},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if inv, err := look(t, &row.c); !errors.Is(err, row.want) || len(inv.Items) != 0 {
				t.Errorf("got %+v, %v", inv, err)
			}
		})
	}
}

var (
	app   = dependency.Item{Kind: pam.KindService, Name: "App", RunAs: `CORP\svc_app`, Target: true, State: "Running"}
	night = dependency.Item{Kind: pam.KindTask, Name: `\Nightly`, RunAs: `CORP\svc_app`, Target: true, State: "Ready"}
	token = dependency.Item{Kind: pam.KindTask, Name: `\Token`, RunAs: `CORP\svc_app`, Skip: "no_stored_password"}
	web   = dependency.Item{Kind: pam.KindService, Name: "Web", RunAs: "LocalSystem"}
)

// update has a canned machine update its items and returns what was heard.
func update(t *testing.T, c *canned) (dependency.Update, []string, error) {
	t.Helper()
	var heard []string
	u, err := c.open(t).Update(t.Context(), dependency.UpdateRequest{
		Run: "run1", Subject: subject, Kinds: allKinds, Items: []dependency.Item{app, token, night, web, app},
	}, secret.New([]byte("n3w-Pass")), func(r dependency.ItemResult) { heard = append(heard, brief(r)) })
	return u, heard, err
}

func brief(r dependency.ItemResult) string {
	text := fmt.Sprintf("%s %s %s %s", r.Phase, r.Kind, r.Name, r.Status)
	if r.Error != nil {
		text += " " + r.Error.Class
	}
	return text
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	granted := `{"t":"proof","type":5,"code":0,"passwordOk":true,"granted":true}
`
	appOK := `{"t":"item","phase":"update","kind":"service","id":"APP","status":"ok"}
`
	nightOK := `{"t":"item","phase":"update","kind":"task","id":"\\Nightly","status":"noop"}
`
	for _, row := range []struct {
		name     string
		c        canned
		want     []string
		rejected bool
		err      error
		notes    int
	}{
		{
			name: "every item is answered", c: canned{lines: talk(t, hello+granted+appOK+nightOK+bye)},
			want: []string{"update service App ok", `update task \Nightly noop`},
		},
		{
			name: "an item without a line is unknown", c: canned{lines: talk(t, hello+granted+appOK+bye)},
			want: []string{"update service App ok", `update task \Nightly unknown unknown`},
		},
		{
			name: "a cut leaves unknown what it did not name", c: canned{lines: talk(t, hello+granted+appOK), broken: broke},
			want: []string{"update service App ok", `update task \Nightly unknown io`}, err: pam.ErrIO,
		},
		{
			name: "no end marker is an error, and what is known is kept", c: canned{lines: talk(t, hello+granted+appOK)},
			want: []string{"update service App ok", `update task \Nightly unknown io`}, err: pam.ErrIO,
		},
		{
			name: "input that never arrived changed nothing",
			c:    canned{broken: &remote.Error{Kind: pam.ErrUnreachable, Err: errors.New("refused")}},
			want: []string{"update service App pending unreachable", `update task \Nightly pending unreachable`}, err: pam.ErrUnreachable,
		},
		{
			name: "a script that refused to begin changed nothing",
			c:    canned{lines: talk(t, `{"t":"fatal","class":"locked_by_other_run"}`)},
			want: []string{"update service App pending locked_by_other_run", `update task \Nightly pending locked_by_other_run`},
			err:  pam.ErrConflict,
		},
		{
			name: "a refused proof leaves everything pending", rejected: true,
			c: canned{lines: talk(t, hello+`{"t":"proof","type":5,"code":1326}
`+bye)},
			want: []string{"update service App pending credential_rejected", `update task \Nightly pending credential_rejected`},
		},
		{
			name: "a proof is what its code says", rejected: true,
			c: canned{lines: talk(t, hello+`{"t":"proof","type":5,"code":1326,"passwordOk":true,"granted":true}
`+bye)},
			want: []string{"update service App pending credential_rejected", `update task \Nightly pending credential_rejected`},
		},
		{
			name: "no domain controller says nothing of the password",
			c: canned{lines: talk(t, hello+`{"t":"proof","type":5,"code":1311}
`+bye)},
			want: []string{"update service App pending no_logon_server", `update task \Nightly pending no_logon_server`},
		},
		{
			name: "a changed run-as is reported with its class",
			c: canned{lines: talk(t, hello+granted+`{"t":"item","phase":"update","kind":"service","id":"App","status":"failed","err":{"class":"run_as_changed"}}
`+nightOK+bye)},
			want: []string{"update service App failed run_as_changed", `update task \Nightly noop`},
		},
		{
			name: "a failure without a reason is one all the same",
			c: canned{lines: talk(t, hello+granted+`{"t":"item","phase":"update","kind":"service","id":"App","status":"failed"}
`+nightOK+bye)},
			want: []string{"update service App failed unknown", `update task \Nightly noop`},
		},
		{
			name: "answers nobody asked for, and second ones, are noted and not believed", notes: 2,
			c: canned{lines: talk(t, hello+granted+appOK+nightOK+`{"t":"item","phase":"update","kind":"service","id":"Web","status":"ok"}
{"t":"item","phase":"update","kind":"service","id":"App","status":"failed"}
`+bye)},
			want: []string{"update service App ok", `update task \Nightly noop`},
		},
		{
			name: "lines of other phases are not results",
			c: canned{lines: talk(t, hello+granted+`{"t":"item","phase":"restart","kind":"service","id":"App","status":"ok"}
`+nightOK+bye)},
			want: []string{`update task \Nightly noop`, "update service App unknown unknown"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			u, heard, err := update(t, &row.c)
			if row.err == nil && err != nil || !errors.Is(err, row.err) {
				t.Errorf("got %v, want %v", err, row.err)
			}
			if diff := cmp.Diff(row.want, heard); diff != "" {
				t.Error(diff)
			}
			if len(u.Results) != 2 || u.Results[0].Name != "App" || u.Results[1].Name != `\Nightly` {
				t.Errorf("results %+v", u.Results)
			}
			if u.Rejected != row.rejected || len(u.Inventory.Warnings) != row.notes {
				t.Errorf("rejected %v, warnings %q", u.Rejected, u.Inventory.Warnings)
			}
			asked := row.c.asked[0]
			if len(asked.Items) != 2 || asked.Policy.Proof != "required" || !asked.Journal || row.c.secrets[0] != "n3w-Pass" || asked.Secrets["new"] != 0 {
				t.Errorf("asked %+v", asked)
			}
		})
	}
}

func TestUpdateOfNothingSpendsNoLogon(t *testing.T) {
	t.Parallel()
	c := &canned{lines: talk(t, hello+bye)}
	u, err := c.open(t).Update(t.Context(), dependency.UpdateRequest{Subject: subject, Kinds: allKinds, Items: []dependency.Item{token}},
		secret.New([]byte("n3w")), nil)
	if err != nil || u.Inventory.Host != "SRV1" || len(u.Results) != 0 || c.asked[0].Op != powershell.OpLook || len(c.secrets) != 0 {
		t.Errorf("got %+v, %v; asked %+v", u, err, c.asked)
	}
}

func TestUpdateHoldsBackWhatWouldNotComeUp(t *testing.T) {
	t.Parallel()
	c := &canned{lines: talk(t, hello+`
{"t":"proof","type":5,"code":1385,"passwordOk":true}
{"t":"proof","type":4,"code":0,"passwordOk":true,"granted":true}
{"t":"item","phase":"update","kind":"service","id":"App","status":"ok"}
{"t":"item","phase":"update","kind":"task","id":"\\Nightly","status":"ok"}
{"t":"item","phase":"look","kind":"service","id":"App","match":{"hit":true,"class":"user"},"state":"Running","startMode":"Auto","canStop":true}
{"t":"item","phase":"look","kind":"iis_pool","id":"Batch","match":{"hit":true,"class":"user"},"state":"Started","workers":[1],"logonType":"LogonBatch"}
{"t":"item","phase":"look","kind":"iis_pool","id":"Service","match":{"hit":true,"class":"user"},"state":"Started","workers":[2],"logonType":"LogonService"}
`+bye)}
	u, _, err := update(t, c)
	if err != nil || u.Rejected {
		t.Fatalf("got %+v, %v", u, err)
	}
	plan, skips := dependency.PlanRestart(u.Inventory, allUpdated, dependency.PlanOptions{})
	if len(plan.Stops) != 0 || len(plan.Recycles) != 1 || plan.Recycles[0].Name != "Batch" || texts(skips) != "App=right_missing, Service=right_missing" {
		t.Errorf("plan %+v, skips %s", plan, texts(skips))
	}
}
