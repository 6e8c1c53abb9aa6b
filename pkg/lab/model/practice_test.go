package model_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"testing/iotest"

	"keyturn/pkg/lab/model"
)

func TestPracticeFleet(t *testing.T) {
	t.Parallel()
	f, clock := fleet(t, 3)
	if len(f.Machines()) != 4 || f.Machines()[0].Name() != "DC01" {
		t.Fatal("the fleet is DC01 and three servers")
	}
	var all []model.MachineView
	for _, m := range f.Machines() {
		v := m.View()
		all = append(all, v)
		for _, s := range v.Services {
			if !s.CredentialOK {
				t.Errorf("%s: %s would not log on", m.Name(), s.Name)
			}
		}
		for _, x := range v.Tasks {
			if !x.CredentialOK {
				t.Errorf("%s: task %s would not log on", m.Name(), x.Path)
			}
		}
		for _, p := range v.Pools {
			if !p.CredentialOK {
				t.Errorf("%s: pool %s would not log on", m.Name(), p.Name)
			}
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, f.Service.Reveal()) || bytes.Contains(b, f.Admin.Reveal()) {
		t.Fatal("a password is in the view")
	}
	if _, err := model.Practice(model.PracticeOptions{Clock: clock, Random: iotest.ErrReader(iotest.ErrTimeout)}); err == nil {
		t.Fatal("no randomness, and no error")
	}
}

func TestHookMayCutTheMachine(t *testing.T) {
	t.Parallel()
	f, _ := fleet(t, 1)
	m := f.Servers[0]
	m.Hook(func(e model.Event) {
		if e.Kind == model.ServiceStopped {
			m.Cut()
		}
	})
	control(t, m, "OrdersMonitor", model.Stop, model.OK)
	if err := m.Control("OrdersApi", model.Stop); err == nil {
		t.Fatal("a cut machine answered")
	}
	if got := m.View().Service("OrdersMonitor").State; got != model.Stopped {
		t.Fatal(got)
	}
	m.Hook(nil)
	m.Mend()
	control(t, m, "OrdersMonitor", model.Start, model.OK)
}
