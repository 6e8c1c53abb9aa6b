package vault_test

import (
	"reflect"
	"testing"

	"keyturn/pkg/pam"
)

func TestTheAdminOfAMachine(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	srv := add(t, v, machineRecord("SRV1", "srv1", "Windows"))
	own := add(t, v, userRecord("own admin", `SRV1\admin`, "own"))
	login := add(t, v, pam.Record{Head: pam.Head{Title: "domain admin", Type: pam.TypeLogin}, Fields: []pam.Field{
		{Type: "login", Values: []string{`LAB\admin`}},
		{Type: "password", Secret: word("general")},
		{Type: "secret", Label: "privatePEMKey", Secret: word("PEM")},
	}})
	_, err := v.Admin(ctx, srv)
	wants(t, err, pam.ErrInvalidInput, "SRV1", string(srv), "keyturn pam rotation edit -rs "+string(srv)+" -a ADMIN",
		`keyturn pam config edit "Local Network" -a ADMIN`)

	configurations, err := v.Configurations(ctx)
	must(t, err)
	c := configurations[0]
	c.Admin = login
	must(t, v.SetConfiguration(ctx, c))
	l, err := v.Admin(ctx, srv)
	must(t, err)
	if l.Record != login || l.User != `LAB\admin` || string(l.Password.Reveal()) != "general" || string(l.PrivateKey.Reveal()) != "PEM" {
		t.Errorf("got %+v", l)
	}

	must(t, v.SetResourceSettings(ctx, pam.ResourceSettings{Resource: srv, Admin: own}))
	l, err = v.Admin(ctx, srv)
	must(t, err)
	if l.Record != own || l.Title != "own admin" || string(l.Password.Reveal()) != "own" {
		t.Errorf("got %+v", l)
	}
	must(t, v.DeleteRecord(ctx, own))
	_, err = v.Admin(ctx, srv)
	wants(t, err, pam.ErrInvalidInput, string(own), "deleted", "pam config edit")
	_, err = v.Admin(ctx, own)
	wants(t, err, pam.ErrNotFound)

	c.Admin = srv
	wants(t, v.SetConfiguration(ctx, c), pam.ErrInvalidInput, "pamMachine")
	wants(t, v.SetResourceSettings(ctx, pam.ResourceSettings{Resource: srv, Admin: srv}), pam.ErrInvalidInput)
	wants(t, v.SetResourceSettings(ctx, pam.ResourceSettings{Resource: srv, Configuration: "nosuch"}), pam.ErrNotFound)
}

func TestAnAdminWithoutMeansToLogIn(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	srv := add(t, v, machineRecord("SRV1", "srv1", "Windows"))
	for what, r := range map[string]pam.Record{
		"no login":                    userRecord("a", "", "pw"),
		"neither a password nor a pr": userRecord("b", "b", ""),
	} {
		must(t, v.SetResourceSettings(t.Context(), pam.ResourceSettings{Resource: srv, Admin: add(t, v, r)}))
		_, err := v.Admin(t.Context(), srv)
		wants(t, err, pam.ErrInvalidInput, what)
	}
}

func TestAnAdminThatLogsInWithAKey(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	srv := add(t, v, machineRecord("SRV1", "srv1", "Windows"))
	for name, row := range map[string]struct {
		agent, want string
		fields      []pam.Field
		bad         bool
	}{
		"a key behind a passphrase": {fields: []pam.Field{
			{Type: "secret", Label: "privatePEMKey", Secret: word("PEM")}, {Type: "secret", Label: "passphrase", Custom: true, Secret: word("open")},
		}},
		"an agent":               {agent: "ON", want: pam.AgentOn},
		"a key of an agent":      {agent: "SHA256:abc", want: "SHA256:abc"},
		"no agent, and no key":   {agent: "off", bad: true},
		"a word that is neither": {agent: "yes please", bad: true},
	} {
		r := userRecord(name, "root", "")
		r.Fields = append(r.Fields, row.fields...)
		if row.agent != "" {
			r.Fields = append(r.Fields, pam.Field{Type: "text", Label: "sshAgent", Custom: true, Values: []string{row.agent}})
		}
		must(t, v.SetResourceSettings(t.Context(), pam.ResourceSettings{Resource: srv, Admin: add(t, v, r)}))
		l, err := v.Admin(t.Context(), srv)
		if row.bad {
			wants(t, err, pam.ErrInvalidInput, name)
			continue
		}
		must(t, err)
		if l.Agent != row.want || len(row.fields) > 0 && (string(l.PrivateKey.Reveal()) != "PEM" || string(l.Passphrase.Reveal()) != "open") {
			t.Errorf("%s: %+v", name, l)
		}
	}
}

func TestConfigurationsHaveTitlesOfTheirOwn(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	gateways, err := v.Gateways(ctx)
	must(t, err)
	_, err = v.AddConfiguration(ctx, pam.Configuration{Title: "Lab", Environment: "domain", Gateway: gateways[0].UID})
	must(t, err)
	_, err = v.AddConfiguration(ctx, pam.Configuration{Title: "LAB", Gateway: gateways[0].UID})
	wants(t, err, pam.ErrConflict, "Lab")
	_, err = v.AddConfiguration(ctx, pam.Configuration{Title: "x", Gateway: "nosuch"})
	wants(t, err, pam.ErrNotFound)
	_, err = v.AddConfiguration(ctx, pam.Configuration{Title: " ", Gateway: gateways[0].UID})
	wants(t, err, pam.ErrInvalidInput)
	all, err := v.Configurations(ctx)
	must(t, err)
	if len(all) != 2 || all[0].Title != "Lab" || all[1].Title != "Local Network" {
		t.Errorf("got %v", all)
	}
}

func TestRotationSettings(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	user := add(t, v, userRecord("svc", "svc", "pw"))
	_, _, err := v.User(ctx, user)
	wants(t, err, pam.ErrInvalidInput, "The user record does not have any rotation settings.", "svc", "keyturn pam rotation edit -r "+string(user))
	for _, c := range []struct {
		system string
		want   pam.AuthorityKind
	}{{"windows", pam.AuthorityWindows}, {" WINDOWS ", pam.AuthorityWindows}, {"Linux", pam.AuthorityLinux}} {
		s := pam.RotationSettings{User: user, Resource: add(t, v, machineRecord("M", "m", c.system)), Enabled: true, Complexity: "24"}
		must(t, v.SetRotation(ctx, s))
		got, a, err := v.User(ctx, user)
		if err != nil || got != s || a.Authority != c.want || a.Resource != s.Resource || a.Name != "svc" {
			t.Errorf("%s: got %+v, %+v, %v", c.system, got, a, err)
		}
	}
	blank := add(t, v, machineRecord("M", "m", ""))
	wants(t, v.SetRotation(ctx, pam.RotationSettings{User: user, Resource: blank}), pam.ErrInvalidInput,
		"The operating system field of the machine record is blank.")
	cisco := add(t, v, machineRecord("M", "m", "cisco_ios_xe"))
	wants(t, v.SetRotation(ctx, pam.RotationSettings{User: user, Resource: cisco}), pam.ErrInvalidInput, "cisco_ios_xe")
	wants(t, v.SetRotation(ctx, pam.RotationSettings{User: user, Resource: user}), pam.ErrInvalidInput, "not a PAM Machine")
	wants(t, v.SetRotation(ctx, pam.RotationSettings{User: blank, Resource: blank}), pam.ErrInvalidInput, "not a PAM User")
	wants(t, v.SetRotation(ctx, pam.RotationSettings{User: user, Resource: "nosuch"}), pam.ErrNotFound)
	if all, err := v.Rotations(ctx); err != nil || len(all) != 1 {
		t.Errorf("got %v, %v", all, err)
	}
}

func TestAnotherResourceMeansAnotherIdentity(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	user, machine := rotatable(t, v, "svc")
	_, a, err := v.User(t.Context(), user)
	must(t, err)
	a, err = v.Identify(t.Context(), a.UID, pam.Identity{Alias: "guid/S-1", SID: "S-1"})
	must(t, err)
	if a.SID != "S-1" || a.Authority != pam.AuthorityWindows {
		t.Errorf("got %+v", a)
	}
	other := add(t, v, machineRecord("other", "other", "windows"))
	j := newJob(t, v, user)
	wants(t, v.SetRotation(t.Context(), pam.RotationSettings{User: user, Resource: other}), pam.ErrConflict, string(j.ID))
	must(t, v.SetRotation(t.Context(), pam.RotationSettings{User: user, Resource: machine, Complexity: "30"}))
	must(t, v.RequestCancel(t.Context(), j.ID))
	must(t, v.SetRotation(t.Context(), pam.RotationSettings{User: user, Resource: other}))
	if _, a, err = v.User(t.Context(), user); err != nil || a.SID != "" || a.Identity != "" || a.Resource != other {
		t.Errorf("got %+v, %v", a, err)
	}
}

func TestMappings(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	user, dc := rotatable(t, v, "svc")
	srv := add(t, v, machineRecord("SRV1", "srv1", "windows"))
	for _, m := range []pam.UID{dc, srv} {
		must(t, v.SetMapping(ctx, pam.Mapping{User: user, Machine: m, Kinds: pam.MapServices}))
		must(t, v.SetMapping(ctx, pam.Mapping{User: user, Machine: m, Kinds: pam.MapServices | pam.MapTasks}))
	}
	wants(t, v.SetMapping(ctx, pam.Mapping{User: srv, Machine: srv, Kinds: pam.MapAll}), pam.ErrInvalidInput, "not a PAM User")
	wants(t, v.SetMapping(ctx, pam.Mapping{User: user, Machine: user, Kinds: pam.MapAll}), pam.ErrInvalidInput, "not a PAM Machine")
	must(t, v.SetResourceSettings(ctx, pam.ResourceSettings{Resource: dc, Disabled: true}))
	got, err := v.Mappings(ctx, user)
	must(t, err)
	for _, m := range got {
		if m.Kinds != pam.MapServices|pam.MapTasks || m.Disabled != (m.Machine == dc) {
			t.Errorf("with one machine disabled got %+v", m)
		}
	}
	if len(got) != 2 {
		t.Errorf("got %v", got)
	}
	if all, err := v.AllMappings(ctx); err != nil || len(all) != 2 {
		t.Errorf("got %v, %v", all, err)
	}
	must(t, v.SetResourceSettings(ctx, pam.ResourceSettings{Resource: user, Disabled: true}))
	if got, err = v.Mappings(ctx, user); err != nil || len(got) != 2 || !got[0].Disabled || !got[1].Disabled {
		t.Errorf("a disabled user has %v, %v", got, err)
	}
	must(t, v.SetMapping(ctx, pam.Mapping{User: user, Machine: srv}))
	if all, err := v.AllMappings(ctx); err != nil || len(all) != 1 {
		t.Errorf("got %v, %v", all, err)
	}
}

func TestAMachineIsReadFromItsRecord(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	r := machineRecord("SRV1", "srv1.lab", "windows")
	r.Fields = append(r.Fields, pam.Field{Type: "text", Label: "hostKey", Custom: true, Values: []string{"ssh-ed25519 AAAA", "ssh-rsa BBBB"}})
	uid := add(t, v, r)
	m, err := v.Machine(t.Context(), uid)
	if err != nil || m.Host != "srv1.lab" || m.Port != 5986 || m.Transport != pam.WinRM || m.UID != uid {
		t.Errorf("got %+v, %v", m, err)
	}
	keys, err := v.HostKeys(t.Context(), uid)
	if err != nil || !reflect.DeepEqual(keys, []string{"ssh-ed25519 AAAA", "ssh-rsa BBBB"}) {
		t.Errorf("got %v, %v", keys, err)
	}
	_, err = v.Machine(t.Context(), add(t, v, userRecord("u", "u", "u")))
	wants(t, err, pam.ErrInvalidInput, "The machine record is not a PAM Machine.")
}
