package commands

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keyturn/pkg/pam"
)

func sealOf(vault string) sealer {
	return func(text string) (string, error) { return vault + "/" + text, nil }
}

func somePlan() (pam.Plan, pam.JobOptions) {
	p := pam.Plan{
		User: "u", UserTitle: "svc", Account: "a", AccountName: `LAB\svc`, Identity: "S-1-5-21-1-1104", Restart: "running",
		Authority: pam.Place{Machine: "d", Title: "DC01", Address: "dc01:5986", ID: "guid-d"},
		Machines:  []pam.Place{{Machine: "m", Title: "SRV1", Address: "srv1:5986", ID: "guid-1"}},
		Items: []pam.Item{
			{Machine: "d", MachineTitle: "DC01", Kind: pam.KindAccount, Name: `LAB\svc`, Action: pam.ActionSet, Status: pam.StatusPending},
			{
				Machine: "m", MachineTitle: "SRV1", Kind: pam.KindService, Name: "App\u202e", Action: pam.ActionUpdateRestart,
				Before: pam.Snapshot{RunAs: `LAB\svc`, State: "Running", StartMode: "Auto"},
			},
		},
		Warnings: []string{"a warning"},
	}
	return p, pam.JobOptions{
		NoRestart: true, MaxConcurrency: 3, Settle: 200 * time.Millisecond, Policy: pam.Policy{MaxFailures: "5%"},
	}
}

func planText(tb testing.TB) []byte {
	tb.Helper()
	p, o := somePlan()
	d, err := newPlanDocument(p, o, time.Unix(1, 0)).sealed(sealOf("own"))
	if err != nil {
		tb.Fatal(err)
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func TestAPlanComesBackAsItWas(t *testing.T) {
	t.Parallel()
	d, err := readPlan(bytes.NewReader(planText(t)), sealOf("own"))
	if err != nil {
		t.Fatal(err)
	}
	p, o := somePlan()
	o.PlanHash = d.Hash // so that it is run once
	o.Approved = &p
	if diff := cmp.Diff(o, d.options()); diff != "" {
		t.Error(diff)
	}
}

func TestNoByteOfAPlanCanBeChanged(t *testing.T) {
	t.Parallel()
	text := planText(t)
	own, err := readPlan(bytes.NewReader(text), sealOf("own"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range text {
		for _, b := range []byte{text[n] ^ 1, '"', '0', ' '} {
			changed := bytes.Clone(text)
			changed[n] = b
			if d, err := readPlan(bytes.NewReader(changed), sealOf("own")); err == nil && !reflect.DeepEqual(d, own) {
				t.Fatalf("byte %d may be %q: %s", n, b, changed)
			}
		}
		if _, err := readPlan(bytes.NewReader(text[:n]), sealOf("own")); !errors.Is(err, pam.ErrInvalidInput) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

func TestPlansThatAreRefused(t *testing.T) {
	t.Parallel()
	text := string(planText(t))
	edit := func(from, to string) string {
		t.Helper()
		if !strings.Contains(text, from) {
			t.Fatalf("the plan has no %s", from)
		}
		return strings.Replace(text, from, to, 1)
	}
	for _, c := range []struct{ name, text, want string }{
		{"an item's action was edited", edit(`"update+restart"`, `"skip"`), "changed after it was written"},
		{"an option was edited", edit(`"no_restart": true`, `"no_restart": false`), "changed after it was written"},
		{"a warning was taken out", edit(`"a warning"`, `""`), "changed after it was written"},
		{"a field was added", edit(`"options": {`, `"more": 1, "options": {`), "unknown field"},
		{"a name in another case, for who reads it", edit(`"no_restart": true`, `"no_restart": true, "NO_RESTART": true`), "another name"},
		{"something follows", text + text, "no plan"},
		{"another version", edit(`"plan_version": 1`, `"plan_version": 2`), "version 2"},
		{"a job", `{"job_id":"x","items":[]}`, "it is no plan"},
		{"a list", `[]`, "no plan"},
		{"nothing", " \n", "empty"},
		{"too much", strings.Repeat(" ", maxPlanFile+1), "larger than any plan"},
	} {
		_, err := readPlan(strings.NewReader(c.text), sealOf("own"))
		if !errors.Is(err, pam.ErrInvalidInput) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := readPlan(strings.NewReader(text), sealOf("other")); err == nil || !strings.Contains(err.Error(), "this vault did not write it") {
		t.Errorf("another vault's: %v", err)
	}
}

func FuzzReadPlan(f *testing.F) {
	f.Add(planText(f))
	f.Add([]byte(`{"plan_version":1,"items":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := readPlan(bytes.NewReader(text), sealOf("own"))
		if err != nil {
			if pam.KindOf(err) != pam.ErrInvalidInput {
				t.Errorf("%v", err)
			}
			return
		}
		if o := d.options(); o.Approved == nil || len(o.Approved.Items) == 0 {
			t.Errorf("an empty plan was taken: %s", text)
		}
	})
}
