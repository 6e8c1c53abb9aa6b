package commands

import (
	"context"
	"strings"

	"keyturn/commands/exchange"
	"keyturn/pkg/pam"
	"keyturn/pkg/password"
	"keyturn/pkg/schedule"
)

// connect looks up what the records of a project say of one another. The error
// names the entry and field.
func (p *projectPlan) connect(ctx context.Context, c *call) error {
	if admin := p.file.Configuration.Admin; admin != "" && p.isNew {
		uid, err := p.find(admin, isUser)
		if err != nil {
			return pam.Errorf(pam.ErrInvalidInput, `pam_configuration, field "dom_administrative_credential": %w`, err)
		}
		p.configuration.Admin = uid
	}
	if p.isNew {
		p.parts.Configuration = &p.configuration
	}
	for i, r := range p.file.Records {
		if err := p.connectSettings(i, r); err != nil {
			return r.Fault("pam_settings", "%w", err)
		}
		if r.Rotation != nil {
			if err := p.connectRotation(i, r); err != nil {
				return r.Fault("rotation_settings", "%w", err)
			}
		}
	}
	for i, r := range p.file.Records { // of users whose rotation is known by now
		for _, s := range r.Services {
			if err := p.connectService(ctx, c, i, r, s); err != nil {
				return r.Fault("services", "%w", err)
			}
		}
	}
	return nil
}

func (p *projectPlan) connectSettings(i int, r exchange.ProjectRecord) error {
	s := pam.ResourceSettings{Resource: p.uids[i], Disabled: r.Disabled}
	if r.Admin != "" {
		uid, err := p.find(r.Admin, isUser)
		if err != nil {
			return err
		}
		s.Admin = uid
	}
	if isResource(r.Record.Type) {
		s.Configuration = p.configuration.UID
	}
	if s != (pam.ResourceSettings{Resource: p.uids[i]}) {
		p.parts.Resources = append(p.parts.Resources, s)
	}
	return nil
}

func (p *projectPlan) connectRotation(i int, r exchange.ProjectRecord) error {
	from := *r.Rotation
	s := pam.RotationSettings{
		User: p.uids[i], Configuration: p.configuration.UID, Complexity: from.Complexity, OnDemand: true,
		Enabled: from.Enabled == "on" || from.Enabled == "default" && !p.file.Configuration.Off,
	}
	var err error
	switch {
	case r.Record.Type != pam.TypeUser:
		return pam.Errorf(pam.ErrInvalidInput, "a %s has none; a %s has", r.Record.Type, pam.TypeUser)
	case from.Resource != "":
		if s.Resource, err = p.find(from.Resource, isResource); err != nil {
			return err
		}
	case r.Parent < 0:
		return pam.Errorf(pam.ErrInvalidInput, `field "resource": is missing, and the user belongs to no resource`)
	case !isResource(p.file.Records[r.Parent].Record.Type):
		return pam.Errorf(pam.ErrInvalidInput, "passwords of a %s cannot be rotated", p.file.Records[r.Parent].Record.Type)
	default:
		s.Resource = p.uids[r.Parent]
	}
	if from.Complexity != "" {
		if _, err := password.ParseAccountRules(from.Complexity); err != nil {
			return pam.Errorf(pam.ErrInvalidInput, `field "password_complexity": %w`, err)
		}
	}
	if s.Policy, err = checkedPolicy(from.Policy); err != nil {
		return pam.Errorf(pam.ErrInvalidInput, `field "policy": %w`, err)
	}
	p.parts.Rotations = append(p.parts.Rotations, s)
	return nil
}

// checkedPolicy reads the words of a policy that comes from a file.
func checkedPolicy(p pam.Policy) (pam.Policy, error) {
	var err error
	if p.Restart != "" {
		if p.Restart, err = pam.ParseRestartRule(string(p.Restart)); err != nil {
			return p, err
		}
	}
	if p.Window != "" {
		w, err := schedule.ParseWindow(p.Window)
		if err != nil {
			return p, err
		}
		p.Window = w.String()
	}
	if p.Restart == pam.RestartWindow && p.Window == "" {
		return p, pam.Errorf(pam.ErrInvalidInput, "restart window needs a window")
	}
	for _, l := range []*pam.Limit{&p.SkipUnreachable, &p.MaxFailures} {
		if *l == "" {
			continue
		}
		if *l, err = pam.ParseLimit(string(*l)); err != nil {
			return p, err
		}
	}
	return p, nil
}

// connectService makes the checks of "service add".
func (p *projectPlan) connectService(ctx context.Context, c *call, i int, r exchange.ProjectRecord, s exchange.ProjectService) error {
	if r.Record.Type != pam.TypeMachine {
		return pam.Errorf(pam.ErrInvalidInput, "a %s has none; a %s has", r.Record.Type, pam.TypeMachine)
	}
	if system := r.Record.Text("text", "operatingSystem"); !(pam.Machine{OperatingSystem: system}).IsWindows() {
		return pam.Errorf(pam.ErrInvalidInput, `the operating system %q is not Windows: write "operating_system": "windows"`, system)
	}
	user, err := p.find(s.User, func(t pam.RecordType) bool { return t == pam.TypeUser })
	if err != nil {
		return err
	}
	if !p.rotates(user) {
		_, ok, err := c.vault.Rotation(ctx, user)
		if err != nil {
			return err
		}
		if !ok {
			return pam.Errorf(pam.ErrInvalidInput, "user %q has no rotation_settings", s.User)
		}
	}
	p.parts.Mappings = append(p.parts.Mappings, pam.Mapping{User: user, Machine: p.uids[i], Kinds: s.Kinds})
	return nil
}

// rotates reports whether the file gives a user rotation settings.
func (p *projectPlan) rotates(user pam.UID) bool {
	for _, s := range p.parts.Rotations {
		if s.User == user {
			return true
		}
	}
	return false
}

// newConfiguration plans the configuration of a new project and its gateway.
func (p *projectPlan) newConfiguration(ctx context.Context, c *call) error {
	from := p.file.Configuration
	p.isNew = true
	p.configuration = pam.Configuration{Title: from.Title, Environment: strings.ToLower(from.Environment)}
	if p.configuration.Title == "" {
		p.configuration.Title = p.name + " Configuration"
	}
	switch p.configuration.Environment {
	case "":
		p.configuration.Environment = "local"
	case "local", "domain":
	default:
		return pam.Errorf(pam.ErrInvalidInput, `pam_configuration, field "environment": %q is neither local nor domain`, from.Environment)
	}
	var err error
	if p.configuration.UID, err = pam.NewUID(c.Random); err != nil {
		return err
	}
	gateways, err := c.vault.Gateways(ctx)
	if err != nil {
		return err
	}
	for _, g := range gateways {
		if from.Gateway == "" || strings.EqualFold(g.Name, from.Gateway) {
			p.configuration.Gateway, p.gateway = g.UID, g.Name
			return nil
		}
	}
	if p.configuration.Gateway, err = pam.NewUID(c.Random); err != nil {
		return err
	}
	p.gateway = from.Gateway
	p.parts.Gateway = &pam.Gateway{UID: p.configuration.Gateway, Name: from.Gateway}
	return nil
}
