package vault_test

import (
	"testing"

	"keyturn/pkg/pam"
)

func TestGatewaysHaveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	_, err := v.SetGateway(ctx, pam.Gateway{Name: "EMBEDDED"})
	wants(t, err, pam.ErrConflict, "Embedded")
	_, err = v.SetGateway(ctx, pam.Gateway{Name: " "})
	wants(t, err, pam.ErrInvalidInput)
	uid, err := v.SetGateway(ctx, pam.Gateway{Name: "Branch"})
	must(t, err)
	_, err = v.SetGateway(ctx, pam.Gateway{UID: uid, Name: "branch"})
	must(t, err) // its own name in another case is no other's
	gateways, err := v.Gateways(ctx)
	must(t, err)
	if len(gateways) != 2 || gateways[0] != (pam.Gateway{UID: uid, Name: "branch"}) {
		t.Errorf("got %v", gateways)
	}
}

func TestWhatIsUsedIsNotRemoved(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	gateways, err := v.Gateways(ctx)
	must(t, err)
	first := gateways[0].UID
	configurations, err := v.Configurations(ctx)
	must(t, err)
	local := configurations[0].UID

	wants(t, v.RemoveGateway(ctx, first), pam.ErrConflict, "the only one")
	wants(t, v.RemoveConfiguration(ctx, local), pam.ErrConflict, "the only one")
	second, err := v.SetGateway(ctx, pam.Gateway{Name: "Branch"})
	must(t, err)
	wants(t, v.RemoveGateway(ctx, first), pam.ErrConflict, "Local Network", "pam config edit")
	wants(t, v.RemoveGateway(ctx, "nosuch"), pam.ErrNotFound)

	lab, err := v.AddConfiguration(ctx, pam.Configuration{Title: "Lab", Environment: "domain", Gateway: second})
	must(t, err)
	wants(t, v.RemoveConfiguration(ctx, "nosuch"), pam.ErrNotFound)
	srv := add(t, v, machineRecord("SRV1", "srv1", "Windows"))
	must(t, v.SetResourceSettings(ctx, pam.ResourceSettings{Resource: srv, Configuration: lab}))
	user := add(t, v, userRecord("svc", `LAB\svc`, "pw"))
	must(t, v.SetRotation(ctx, pam.RotationSettings{User: user, Resource: srv, Configuration: lab}))
	wants(t, v.RemoveConfiguration(ctx, lab), pam.ErrConflict, "SRV1", "svc", "rotation edit")

	// What comes back from the trash belongs to no configuration that is gone.
	must(t, v.DeleteRecord(ctx, user))
	must(t, v.DeleteRecord(ctx, srv))
	must(t, v.RemoveConfiguration(ctx, lab))
	must(t, v.RemoveGateway(ctx, second))
	for _, uid := range []pam.UID{srv, user} {
		_, err = v.RestoreRecord(ctx, uid)
		must(t, err)
	}
	s, err := v.ResourceSettings(ctx, srv)
	must(t, err)
	r, ok, err := v.Rotation(ctx, user)
	must(t, err)
	if s.Configuration != "" || !ok || r.Configuration != "" || r.Resource != srv {
		t.Errorf("got %+v and %+v (%t)", s, r, ok)
	}
}
