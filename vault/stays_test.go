package vault_test

import (
	"testing"

	"keyturn/pkg/pam"
)

// Where a job may have stopped something, it has to come again: it reaches what is
// mapped and takes part, so that this stays until the job has been there.
func TestAMappingStaysWhileSomethingMayBeStopped(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	user, machine := rotatable(t, v, "svc")
	other := add(t, v, machineRecord("SRV9", "srv9", "Windows"))
	both := pam.Mapping{User: user, Machine: machine, Kinds: pam.MapServices | pam.MapTasks}
	must(t, v.SetMapping(ctx, both))
	must(t, v.SetMapping(ctx, pam.Mapping{User: user, Machine: other, Kinds: pam.MapServices}))
	j := newJob(t, v, user)
	item := pam.Item{Machine: machine, MachineTitle: "SRV1", Kind: pam.KindService, Name: "App", Phase: pam.PhaseRestart, Status: pam.StatusUnknown}
	must(t, v.SaveSteps(ctx, []pam.Step{{Job: j.ID, Item: item}}))

	narrow := both
	narrow.Kinds = pam.MapTasks
	gone := pam.Mapping{User: user, Machine: machine}
	for name, try := range map[string]func() error{
		"narrowed": func() error { return v.SetMapping(ctx, narrow) },
		"removed":  func() error { return v.SetMapping(ctx, gone) },
		"the machine left out": func() error {
			return v.SetResourceSettings(ctx, pam.ResourceSettings{Resource: machine, Disabled: true})
		},
		"the user left out": func() error { return v.SetResourceSettings(ctx, pam.ResourceSettings{Resource: user, Disabled: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			wants(t, try(), pam.ErrConflict, string(j.ID), `App stopped on "SRV1"; nothing changed`)
		})
	}
	mappings, err := v.Mappings(ctx, user)
	must(t, err)
	if len(mappings) != 2 || mappings[0].Disabled || mappings[1].Disabled {
		t.Errorf("got %+v", mappings)
	}
	wider := both
	wider.Kinds |= pam.MapIIS
	must(t, v.SetMapping(ctx, wider))
	must(t, v.SetMapping(ctx, pam.Mapping{User: user, Machine: other}))

	item.Status = pam.StatusOK
	must(t, v.SaveSteps(ctx, []pam.Step{{Job: j.ID, Item: item}}))
	must(t, v.SetMapping(ctx, gone))
}
