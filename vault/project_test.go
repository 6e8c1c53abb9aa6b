package vault_test

import (
	"errors"
	"slices"
	"testing"

	"keyturn/pkg/pam"
	"keyturn/vault"
)

// project is one of a machine and a user that it decides the password of.
func project() vault.Project {
	const (
		machine pam.UID = "BPROJECTMACHINE0000001"
		user    pam.UID = "BPROJECTUSER0000000001"
		config  pam.UID = "BPROJECTCONFIG00000001"
		gateway pam.UID = "BPROJECTGATEWAY0000001"
	)
	m, u := machineRecord("m", "h", "windows"), userRecord("u", "u", "pw")
	m.UID, u.UID = machine, user
	return vault.Project{
		Gateway:       &pam.Gateway{UID: gateway, Name: "West"},
		Configuration: &pam.Configuration{UID: config, Title: "c", Environment: "local", Gateway: gateway, Admin: user},
		Records:       []vault.Import{{Record: m, Folder: []string{"P"}}, {Record: u, Folder: []string{"P"}}},
		Resources:     []pam.ResourceSettings{{Resource: machine, Configuration: config, Admin: user}},
		Rotations:     []pam.RotationSettings{{User: user, Resource: machine, Configuration: config, Enabled: true, OnDemand: true}},
		Mappings:      []pam.Mapping{{User: user, Machine: machine, Kinds: pam.MapServices}},
	}
}

func TestAProjectIsAllOrNothing(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	for what, spoil := range map[string]func(*vault.Project) (index int, field string){
		"a record without a title": func(p *vault.Project) (int, string) {
			p.Records[1].Record.Title = " "
			return 1, ""
		},
		"an admin that is a machine": func(p *vault.Project) (int, string) {
			p.Resources[0].Admin = p.Resources[0].Resource
			return 0, "pam_settings"
		},
		"a resource that is a user": func(p *vault.Project) (int, string) {
			p.Rotations[0].Resource = p.Rotations[0].User
			return 1, "rotation_settings"
		},
		"services on a user": func(p *vault.Project) (int, string) {
			p.Mappings[0].User, p.Mappings[0].Machine = p.Mappings[0].Machine, p.Mappings[0].User
			return 1, "services"
		},
		"the title of another configuration": func(p *vault.Project) (int, string) {
			p.Configuration.Title = "local network"
			return -1, ""
		},
	} {
		p := project()
		index, field := spoil(&p)
		_, err := v.ImportProject(ctx, p, vault.ImportOptions{})
		at, ok := errors.AsType[*vault.ImportError](err)
		if err == nil || ok != (index >= 0) || ok && (at.Index != index || at.Field != field) {
			t.Errorf("%s: got %v (%+v)", what, err, at)
		}
	}
	if actions, err := v.ImportProject(ctx, project(), vault.ImportOptions{DryRun: true}); err != nil || len(actions) != 2 {
		t.Errorf("a dry run: %v, %v", actions, err)
	}
	heads, err := v.Heads(ctx)
	must(t, err)
	gateways, err := v.Gateways(ctx)
	must(t, err)
	if len(heads) != 0 || len(gateways) != 1 {
		t.Errorf("left behind: %v, %v", heads, gateways)
	}
	_, err = v.Check(ctx)
	must(t, err)
}

func TestAProjectLeavesWhatIsThereAsItIs(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	first := project()
	_, err := v.ImportProject(ctx, first, vault.ImportOptions{})
	must(t, err)
	again := project()
	again.Gateway, again.Configuration = nil, nil
	again.Resources[0].Disabled, again.Rotations[0].Enabled = true, false
	again.Mappings[0].Kinds = pam.MapTasks
	actions, err := v.ImportProject(ctx, again, vault.ImportOptions{})
	if err != nil || !slices.Equal(actions, []vault.ImportAction{vault.ImportSkip, vault.ImportSkip}) {
		t.Fatalf("got %v, %v", actions, err)
	}
	user, machine := first.Rotations[0].User, first.Resources[0].Resource
	if s, err := v.ResourceSettings(ctx, machine); err != nil || s != first.Resources[0] {
		t.Errorf("the machine's settings: %+v, %v", s, err)
	}
	if s, _, err := v.Rotation(ctx, user); err != nil || s != first.Rotations[0] {
		t.Errorf("the user's settings: %+v, %v", s, err)
	}
	if m, err := v.Mappings(ctx, user); err != nil || len(m) != 1 || m[0].Kinds != pam.MapServices|pam.MapTasks {
		t.Errorf("the mappings: %+v, %v", m, err)
	}
}

// A UID of a record in the trash is another's: what names it follows the record.
func TestAProjectFollowsARecordThatGetsAnotherUID(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	old := project()
	_, err := v.Import(ctx, old.Records, vault.ImportOptions{})
	must(t, err)
	for _, r := range old.Records {
		must(t, v.DeleteRecord(ctx, r.Record.UID))
	}
	_, err = v.ImportProject(ctx, project(), vault.ImportOptions{})
	must(t, err)
	u, err := v.Find(ctx, "/P/u", "")
	must(t, err)
	m, err := v.Find(ctx, "/P/m", "")
	must(t, err)
	s, ok, err := v.Rotation(ctx, u.UID)
	if err != nil || !ok || s.Resource != m.UID || u.UID == old.Rotations[0].User {
		t.Errorf("got %+v, %t, %v", s, ok, err)
	}
	configurations, err := v.Configurations(ctx)
	if err != nil || configurations[0].Admin != u.UID {
		t.Errorf("got %+v, %v", configurations, err)
	}
	_, err = v.Check(ctx)
	must(t, err)
}
