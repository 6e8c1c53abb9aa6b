package executor

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"keyturn/pkg/dependency"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

func drawRequest(t *rapid.T) Request {
	word := rapid.StringMatching(`[ -~äő\\]{0,12}`)
	at := remote.Endpoint{
		Transport: pam.Transport(word.Draw(t, "transport")), Host: word.Draw(t, "host"), Port: rapid.Int().Draw(t, "port"),
		Pin: word.Draw(t, "pin"), CAPEM: rapid.SliceOf(rapid.Byte()).Draw(t, "ca"), HostKeys: rapid.SliceOf(word).Draw(t, "keys"),
	}
	index := rapid.IntRange(-1, 9)
	who := Login{User: word.Draw(t, "user"), Password: index.Draw(t, "password"), PrivateKey: index.Draw(t, "key")}
	a := Authority{
		Kind: pam.AuthorityKind(word.Draw(t, "kind")), Account: pam.Account{UID: "u", Name: word.Draw(t, "name")},
		Endpoint: at, Login: who, Run: pam.UID(word.Draw(t, "run")),
	}
	m := Machine{UID: pam.UID(word.Draw(t, "uid")), Endpoint: at, Login: who}
	s := dependency.Subject{Login: word.Draw(t, "login"), Local: rapid.Bool().Draw(t, "local"), Identity: pam.Identity{Alias: word.Draw(t, "alias")}}
	plan := pam.RestartPlan{
		Stops:    []pam.Stop{{Name: word.Draw(t, "stop"), PID: rapid.Int().Draw(t, "pid"), Started: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "started"), 0).UTC()}},
		Starts:   []pam.Start{{Name: word.Draw(t, "start"), Pause: rapid.Bool().Draw(t, "pause")}},
		Recycles: []pam.Recycle{{Workers: rapid.SliceOf(rapid.Int()).Draw(t, "workers")}}, Settle: time.Second,
	}
	item := dependency.Item{Kind: pam.KindService, Name: word.Draw(t, "item"), DependsOn: rapid.SliceOf(word).Draw(t, "needs")}
	return rapid.SampledFrom([]Request{
		Check{a},
		ReadEvidence{a},
		Verify{a, index.Draw(t, "password")},
		Unlock{a},
		Set{
			a, index.Draw(t, "next"), index.Draw(t, "current"),
			pam.Evidence{Mark: word.Draw(t, "mark"), Exact: true},
			rapid.Bool().Draw(t, "reset"), rapid.Bool().Draw(t, "again"),
		},
		Look{m, dependency.LookRequest{Subject: s, Kinds: []pam.DependencyKind{pam.KindTask}}},
		Update{m, dependency.UpdateRequest{Subject: s, Items: []dependency.Item{item}}, index.Draw(t, "next")},
		Restart{m, "run", plan},
		Repair{m, "run", plan},
		Ping{m, pam.AuthorityWindows},
	}).Draw(t, "request")
}

func TestRequestsSurviveTheWire(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := drawRequest(t)
		text, err := MarshalRequest(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := UnmarshalRequest(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestUnmarshalRequestRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, text string }{
		{"nothing", ""},
		{"no JSON", "look"},
		{"an unknown verb", `{"verb":"format","request":{}}`},
		{"a verb without a request", `{"verb":"look"}`},
		{"an unknown field", `{"verb":"check","request":{"authority":{},"force":true}}`},
		{"a wrong type", `{"verb":"check","request":{"authority":[]}}`},
		{"two requests", `{"verb":"check","request":{}} {"verb":"check","request":{}}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if r, err := UnmarshalRequest([]byte(row.text)); !errors.Is(err, pam.ErrInvalidInput) {
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
	if _, err := MarshalRequest(nil); !errors.Is(err, pam.ErrInternal) {
		t.Errorf("got %v", err)
	}
}

func TestEveryVerbHasAReader(t *testing.T) {
	t.Parallel()
	for _, r := range []Request{Check{}, ReadEvidence{}, Set{}, Unlock{}, Verify{}, Look{}, Update{}, Restart{}, Repair{}, Ping{}} {
		if _, ok := readers()[r.verb()]; !ok {
			t.Errorf("%T cannot be read", r)
		}
	}
	if len(readers()) != 10 {
		t.Errorf("%d readers", len(readers()))
	}
}

func FuzzUnmarshalRequest(f *testing.F) {
	for _, r := range []Request{Check{}, Set{Current: -1}, Update{}, Restart{}} {
		text, err := MarshalRequest(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"verb":"look","request":{"machine":{"endpoint":{"port":1e99}}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := UnmarshalRequest(text)
		if err != nil {
			return
		}
		again, err := MarshalRequest(r)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(again) || strings.Contains(string(again), "[redacted]") {
			t.Errorf("encoded again: %s", again)
		}
	})
}
